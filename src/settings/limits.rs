//! The sizes that are nobody's setting, each with its reason, and the tiny ones that make a short test meet every path.

/// Which set of limits a server runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    #[default]
    Ordinary,
    /// Everything so small that a few thousand commands spill, fetch, walk, checkpoint and replay. For tests.
    Tiny,
    /// The ordinary one, but the log gets as long as it ever may before a checkpoint begins. For tests of recovery.
    LongLog,
}

impl Profile {
    /// What `--profile` takes.
    pub const NAMES: [&str; 3] = ["ordinary", "tiny", "long-log"];

    /// Reads the hidden `--profile` flag.
    pub fn from_name(name: &str) -> Option<Profile> {
        match name {
            "ordinary" => Some(Profile::Ordinary),
            "tiny" => Some(Profile::Tiny),
            "long-log" => Some(Profile::LongLog),
            _ => None,
        }
    }

    /// Gives the sizes of this profile.
    pub fn limits(self) -> Limits {
        match self {
            Profile::Ordinary => Limits::ORDINARY,
            Profile::Tiny => Limits::TINY,
            Profile::LongLog => Limits::LONG_LOG,
        }
    }
}

/// Sizes that follow from how the server is built and not from what its owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A list's chunk is sealed at this size: one sequential read brings some hundred jobs, one reference stands for them.
    pub chunk_bytes: usize,
    /// A bigger object is not kept inside its key's row, so that scanning keys does not read values.
    pub inline_bytes_max: usize,
    /// A changed object is saved in pieces of this size, so that no single row stalls the store.
    pub piece_bytes: usize,
    /// A log segment: large enough that creating one is rare, small enough that recycling gives disk back soon.
    pub segment_bytes: u64,
    /// A spill batch is an eighth of maxmemory within these two: smaller ones make too many tables, bigger ones hold
    /// too much memory while they are written.
    pub spill_batch_bytes_min: u64,
    pub spill_batch_bytes_max: u64,
    /// What one command may bring into memory at once; more becomes a walk in bounded steps.
    pub fetch_bytes_max: u64,
    /// The log's size at which a checkpoint forces the oldest changes out, which bounds the disk it takes …
    pub log_bytes_max: u64,
    /// … and its number of effects, which bounds how long a replay takes: about five seconds.
    pub log_ops_max: u64,
    /// A checkpoint begins after so many commands even if the log is short; none waits for the log or for idleness.
    pub checkpoint_commands: Option<u64>,
    /// Whether everything clean leaves memory after each turn, so that every command has to fetch.
    pub evict_clean_every_turn: bool,
    /// Requests in one turn: enough to share one log write, few enough that nobody waits long for it.
    pub turn_requests_max: usize,
    /// Request bytes in one turn, for the same reason.
    pub turn_bytes_max: usize,
    /// What maxmemory is when nobody sets it.
    pub maxmemory_bytes: u64,
    /// The least maxmemory: the share for spills in flight, a quarter, must hold one smallest batch.
    pub maxmemory_bytes_min: u64,
}

impl Limits {
    pub const ORDINARY: Limits = Limits {
        chunk_bytes: 64 << 10,
        inline_bytes_max: 4 << 10,
        piece_bytes: 64 << 10,
        segment_bytes: 64 << 20,
        spill_batch_bytes_min: 8 << 20,
        spill_batch_bytes_max: 64 << 20,
        fetch_bytes_max: 4 << 20,
        log_bytes_max: 256 << 20,
        log_ops_max: 2_000_000,
        checkpoint_commands: None,
        evict_clean_every_turn: false,
        turn_requests_max: 1024,
        turn_bytes_max: 1 << 20,
        maxmemory_bytes: 256 << 20,
        maxmemory_bytes_min: 32 << 20,
    };

    pub const TINY: Limits = Limits {
        chunk_bytes: 512,
        inline_bytes_max: 128,
        piece_bytes: 512,
        segment_bytes: 64 << 10,
        spill_batch_bytes_min: 8 << 10,
        spill_batch_bytes_max: 8 << 10,
        fetch_bytes_max: 4 << 10,
        log_bytes_max: 256 << 10,
        log_ops_max: 2000,
        checkpoint_commands: Some(200),
        evict_clean_every_turn: true,
        maxmemory_bytes: 1 << 20,
        maxmemory_bytes_min: 1 << 20,
        ..Limits::ORDINARY
    };

    /// Checkpoints begin at half of these sizes.
    pub const LONG_LOG: Limits = Limits {
        log_bytes_max: 2 * Limits::ORDINARY.log_bytes_max,
        log_ops_max: 2 * Limits::ORDINARY.log_ops_max,
        ..Limits::ORDINARY
    };

    /// Gives the size at which spilled chunks are ingested together.
    pub fn spill_batch_bytes(&self, maxmemory_bytes: u64) -> u64 {
        (maxmemory_bytes / 8).clamp(self.spill_batch_bytes_min, self.spill_batch_bytes_max)
    }
}

/// Who gets which part of maxmemory; together all of it but the rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryShare {
    /// Objects, list heads and tails, chunk references.
    Objects,
    /// Sealed chunks on their way to the store.
    Spills,
    /// Chunks that were read ahead of the workers.
    Prefetch,
    /// Requests that are arriving and replies that wait for a slow reader.
    Clients,
    /// The store's block cache.
    Cache,
}

impl MemoryShare {
    pub const ALL: [MemoryShare; 5] =
        [MemoryShare::Objects, MemoryShare::Spills, MemoryShare::Prefetch, MemoryShare::Clients, MemoryShare::Cache];

    /// Gives the share in percent of maxmemory.
    pub fn percent(self) -> u64 {
        match self {
            MemoryShare::Objects => 50,
            MemoryShare::Spills => 25,
            MemoryShare::Prefetch => 10,
            MemoryShare::Clients => 10,
            MemoryShare::Cache => 5,
        }
    }

    /// Gives the share in bytes.
    pub fn bytes(self, maxmemory_bytes: u64) -> u64 {
        maxmemory_bytes / 100 * self.percent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_shares_are_the_whole() {
        assert_eq!(MemoryShare::ALL.map(MemoryShare::percent).iter().sum::<u64>(), 100);
    }

    #[test]
    fn the_least_memory_holds_one_spill_batch() {
        for limits in [Limits::ORDINARY, Limits::TINY, Limits::LONG_LOG] {
            let least = limits.maxmemory_bytes_min;
            let share = least / 4;
            assert!(limits.spill_batch_bytes(least) <= share, "{limits:?}");
            assert!(limits.maxmemory_bytes >= least);
        }
    }
}
