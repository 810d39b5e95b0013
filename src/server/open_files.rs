//! The limit of open files, which is also one of connections.

use std::sync::atomic::Ordering::Relaxed;

use tracing::warn;

use super::Limits;

/// What log, store and listeners need beside the connections.
const OTHER_FILES: u64 = 512;

/// Asks the kernel for enough open files for `maxclients`, and lowers `maxclients` where it does not give them.
///
/// Call it whenever `maxclients` was set.
pub fn fit_to_open_files(limits: &Limits) {
    let wanted = limits.maxclients.load(Relaxed).saturating_add(OTHER_FILES);
    let mut current = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit that the call fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut current) } != 0 || current.rlim_cur >= wanted {
        return;
    }
    let asked = libc::rlimit { rlim_cur: wanted.min(current.rlim_max), ..current };
    // SAFETY: the pointer is to a live rlimit that the call only reads.
    let given =
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &asked) } == 0 { asked.rlim_cur } else { current.rlim_cur };
    if given < wanted {
        let maxclients = given.saturating_sub(OTHER_FILES).max(1);
        limits.maxclients.store(maxclients, Relaxed);
        warn!(open_files = given, maxclients, "the system allows too few open files, so maxclients was lowered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxclients_follows_what_the_system_allows() {
        let limits = Limits::default();
        limits.maxclients.store(10, Relaxed);
        fit_to_open_files(&limits);
        assert_eq!(limits.maxclients.load(Relaxed), 10);
        limits.maxclients.store(u64::MAX, Relaxed);
        fit_to_open_files(&limits);
        assert!((1..u64::MAX - OTHER_FILES).contains(&limits.maxclients.load(Relaxed)));
    }
}
