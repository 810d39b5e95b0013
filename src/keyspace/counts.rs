//! What happens in the keyspace, counted for others.

/// See the module.
#[derive(Debug, Default)]
pub struct Counts {
    /// Effects that were written to frames, and those of the frames that a recovery has replayed.
    pub effects: u64,
    pub(super) expired_keys: u64,
    /// The command under way only reads, so its look-ups count.
    counting: bool,
    found: u64,
    not_found: u64,
}

impl Counts {
    /// How many keys were deleted since the last call because their time had come.
    pub fn take_expired_keys(&mut self) -> u64 {
        std::mem::take(&mut self.expired_keys)
    }

    /// Counts look-ups from now on, or no longer: Redis counts those of commands that only read.
    pub fn count_look_ups(&mut self, counting: bool) {
        self.counting = counting;
    }

    /// How many counted look-ups have found their key since the last call, and how many have not.
    pub fn take_look_ups(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.found), std::mem::take(&mut self.not_found))
    }

    pub(super) fn looked_up(&mut self, found: bool) {
        if self.counting {
            *(if found { &mut self.found } else { &mut self.not_found }) += 1;
        }
    }
}
