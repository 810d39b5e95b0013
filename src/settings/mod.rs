//! Every setting, declared once: from the declaration follow the flag, the environment variable, the key of the
//! configuration file, CONFIG GET and SET, `--help` and the README's table.
//!
//! A later source wins: default, then file, then environment, then flag. A leaf: it knows no other module.

mod accepted;
mod config;
mod declare;
mod kind;
mod limits;
mod load;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use accepted::GROUP as ACCEPTED_GROUP;
pub use declare::{Change, Declaration, declarations, declared};
pub use kind::{AppendFsync, Kind, LogLevel, Permissions, Value, Whom};
pub use limits::{Limits, MemoryShare, Profile};
pub use load::{Origin, SettingsError, argument, arguments, config_argument};
pub use table::{accepted_sentence, readme_table};

use kind::{bytes, integer};

/// What every environment variable of ours begins with.
pub const VARIABLE_PREFIX: &str = "MILLPOND_";

/// The largest time and count that Redis takes too.
const INTEGER_MAX: i64 = i32::MAX as i64;

declare::settings! {
    "Network" {
        /// TCP port; 0 opens none.
        "port" => port: u16 = "6379", integer(0, 65_535), Fixed;
        /// Addresses to listen on; `*` stands for all, and one with a `-` before it may be missing.
        "bind" => bind: Vec<String> = "127.0.0.1", Kind::Words, Fixed;
        /// Path of a Unix socket to listen on too.
        "unixsocket" => unixsocket: Option<PathBuf> = "", Kind::Path, Fixed;
        /// Permission bits of the Unix socket; 0 leaves what the umask gives.
        "unixsocketperm" => unixsocketperm: Permissions = "0", Kind::Permissions, Fixed;
        /// Connections that wait to be accepted.
        "tcp-backlog" => tcp_backlog: u32 = "511", integer(1, INTEGER_MAX), Fixed;
        /// Seconds of silence after which the kernel asks whether the other side is still there; 0 never.
        "tcp-keepalive" => tcp_keepalive_seconds: u32 = "300", integer(0, INTEGER_MAX), Live;
        /// Seconds after which an idle client is closed, unless it waits in a blocking command; 0 never.
        "timeout" => timeout_seconds: u32 = "0", integer(0, INTEGER_MAX), Live;
        /// Connections at once; one more is told so and closed.
        "maxclients" => maxclients: u32 = "10000", integer(1, u32::MAX as i64), Live;
        /// Port for metrics, on the addresses of bind: /metrics for Prometheus, /health and /ready; 0 opens none.
        "metrics-port" => metrics_port: u16 = "0", integer(0, 65_535), Fixed;
        /// Event loops; the number is kept, and this version runs one.
        "io-threads" => io_threads: u32 = "1", integer(1, 128), Fixed;
    }
    "Security" {
        /// Password that clients must give; empty for none. Better in the environment or the file than on the command line.
        "requirepass" => requirepass: Option<String> = "", Kind::Secret, Live;
        /// Whether clients from other machines are refused while there is no password.
        "protected-mode" => protected_mode: bool = "yes", Kind::YesNo, Live;
        /// Who may use DEBUG, which can stop or end the server: nobody, everybody, or clients of this machine.
        "enable-debug-command" => enable_debug_command: Whom = "no", Kind::Choice(&["no", "yes", "local"]), Fixed;
    }
    "Data" {
        /// Directory of the data; made if missing, locked while the server runs.
        "dir" => dir: PathBuf = "./millpond-data", Kind::Path, Fixed;
        /// Cuts a damaged log where the damage begins instead of refusing to start; what is lost is said.
        "repair" => repair: bool = "no", Kind::YesNo, Fixed;
        /// Databases that SELECT can choose from.
        "databases" => databases: u32 = "16", integer(1, 16_384), Fixed;
        /// When the log is synced to the disk: once a second, before every reply, or when the kernel likes.
        "appendfsync" => appendfsync: AppendFsync = "everysec", Kind::Choice(&["everysec", "always", "no"]), Live;
        /// Free disk below which commands that add data get -OOM, so that jobs can still be taken and finished; 0 keeps none.
        "disk-reserve" => disk_reserve_bytes: u64 = "512mb", bytes(0, i64::MAX as u64), Live;
    }
    "Memory" {
        /// Memory that objects, spills, prefetch, clients and cache share; the backlog beyond it lies on disk. At least 32mb.
        "maxmemory" => maxmemory_bytes: u64 = "256mb", bytes(0, i64::MAX as u64), Live;
        /// Milliseconds that a command which adds data waits for a store that is behind, before it gets -OOM.
        "push-wait" => push_wait_ms: u64 = "800", integer(0, 60_000), Live;
        /// Longest single argument of a request; a stored value is at most a quarter of maxmemory.
        "proto-max-bulk-len" => proto_max_bulk_len_bytes: u64 = "512mb", bytes(1 << 20, i64::MAX as u64), Live;
        /// Longest reply that cannot be streamed; 0 for a quarter of maxmemory, as much as a value may have.
        "reply-bytes-max" => reply_bytes_max_setting: u64 = "0", bytes(0, i64::MAX as u64), Live;
    }
    "Jobs" {
        /// Keys of lists that are queues of jobs, as globs: where Sidekiq, Resque and their namespaces put them.
        "job-queues" => job_queues: Vec<String> = "queue:* *:queue:*", Kind::Words, Fixed;
        /// Keys of lists that hold jobs which are being worked on although they look like queues, as globs.
        "job-working-lists" => job_working_lists: Vec<String> = "", Kind::Words, Fixed;
        /// Jobs that one pop passes over to find those that may be handed out; the sweeper looks further.
        "job-scan-max" => job_scan_max: u32 = "256", integer(1, 100_000), Live;
        /// Jobs that are remembered after they left a queue, while new jobs may be refused: handed back, they are taken.
        "handback-ids-max" => handback_ids_max: u32 = "1000000", integer(0, 100_000_000), Live;
        /// Jobs that the server answers for, leased to workers or not due yet; beyond them it takes on no more.
        "job-runs-max" => job_runs_max: u32 = "1000000", integer(1, 100_000_000), Live;
        /// Seconds after which nothing is known any more of a job that an ordinary pop has handed out, if nobody says that it ended.
        "job-run-max" => job_run_max_s: u64 = "86400", integer(1, 31_536_000), Live;
        /// Whether every queue is shared between tenants, as with JOB.TENANT ENABLE; it stays in order until they compete.
        "job-fair-default" => job_fair_default: bool = "no", Kind::YesNo, Live;
        /// Whether the sets named paused, in which Sidekiq Pro keeps the names of paused queues, hold those queues.
        "job-paused-sets" => job_paused_sets: bool = "yes", Kind::YesNo, Live;
    }
    "Scripts" {
        /// Milliseconds after which a script that has written nothing is ended; 0 never.
        "busy-reply-threshold" | "lua-time-limit" => busy_reply_threshold_ms: u64 = "5000", integer(0, INTEGER_MAX), Live;
    }
    "Messages" {
        /// How much is logged.
        "loglevel" => loglevel: LogLevel = "notice", Kind::Choice(&["debug", "verbose", "notice", "warning"]), Live;
        /// File to log to; empty for standard error.
        "logfile" => logfile: Option<PathBuf> = "", Kind::Path, Fixed;
    }
}

/// Says which setting cannot be as it is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    name: &'static str,
    reason: String,
}

/// A value may take this part of maxmemory, so that a few of them at once still fit.
const VALUE_PARTS: u64 = 4;

impl Settings {
    /// Gives one share of maxmemory.
    pub fn share_bytes(&self, share: MemoryShare) -> u64 {
        share.bytes(self.maxmemory_bytes)
    }

    /// Gives the size at which spilled chunks are ingested together.
    pub fn spill_batch_bytes(&self) -> u64 {
        self.limits.spill_batch_bytes(self.maxmemory_bytes)
    }

    /// Gives the longest value that can be stored.
    pub fn value_bytes_max(&self) -> u64 {
        self.maxmemory_bytes / VALUE_PARTS
    }

    /// Gives the longest reply that cannot be streamed.
    pub fn reply_bytes_max(&self) -> u64 {
        if self.reply_bytes_max_setting == 0 { self.value_bytes_max() } else { self.reply_bytes_max_setting }
    }

    /// Checks what no single value can show.
    fn check(&self) -> Result<(), Refusal> {
        if self.maxmemory_bytes < self.limits.maxmemory_bytes_min {
            let reason =
                format!("argument must be between {} and {} inclusive", self.limits.maxmemory_bytes_min, i64::MAX);
            return Err(Refusal { name: "maxmemory", reason });
        }
        if self.port == 0 && self.unixsocket.is_none() {
            let reason = "nothing would be listened on: give a port, or a unixsocket".to_owned();
            return Err(Refusal { name: "port", reason });
        }
        if self.bind.is_empty() && self.port != 0 {
            return Err(Refusal { name: "bind", reason: "argument must name an address".to_owned() });
        }
        if self.dir.as_os_str().is_empty() {
            return Err(Refusal { name: "dir", reason: "argument must name a directory".to_owned() });
        }
        Ok(())
    }
}

/// Shows every setting but the password.
impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = SETTINGS.iter().map(|setting| match setting.kind {
            Kind::Secret => (setting.name, "…".to_owned()),
            _ => (setting.name, (setting.get)(self)),
        });
        formatter.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_help_sentence_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for setting in declarations() {
            assert!(setting.help.trim().ends_with('.'), "{}: its help is a sentence", setting.name);
            for name in setting.names() {
                assert!(names.insert(name), "{name} is declared twice");
                assert_eq!(name, name.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn every_default_is_shown_as_it_was_declared() {
        let settings = Settings::defaults(Profile::Ordinary);
        for setting in declarations() {
            let canonical = setting.kind.canonical(setting.default).expect("a default is of its kind");
            assert_eq!((setting.get)(&settings), canonical, "{}", setting.name);
        }
        settings.check().expect("the defaults can be started with");
    }

    #[test]
    fn the_tiny_profile_can_be_started_with() {
        let settings = Settings::defaults(Profile::Tiny);
        settings.check().expect("the tiny defaults can be started with");
        assert_eq!(settings.maxmemory_bytes, 1 << 20);
        assert_eq!(settings.spill_batch_bytes(), 8 << 10);
    }

    #[test]
    fn the_password_is_not_in_the_debug_text() {
        let mut settings = Settings::defaults(Profile::Ordinary);
        settings.requirepass = Some("hunter2".to_owned());
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn the_help_names_the_least_maxmemory() {
        let help = declared("maxmemory").expect("it is declared").help;
        assert!(help.contains(&format!("{}mb", Limits::ORDINARY.maxmemory_bytes_min >> 20)));
    }
}
