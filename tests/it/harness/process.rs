//! What the kernel says about a process and a directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The most memory the process has ever had resident (VmHWM).
pub fn memory_peak_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

/// The memory that the process has resident now (VmRSS).
pub fn memory_now_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// The processor time that all threads of the process have used, in user and in kernel mode.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is running");
    // The name of the program may itself hold spaces, so the fields are counted from its closing bracket.
    let fields = stat.rsplit_once(')').expect("a stat line names its program").1.split_whitespace().collect::<Vec<_>>();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    // SAFETY: sysconf takes and gives plain numbers.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
    Duration::from_nanos(ticks * 1_000_000_000 / ticks_per_second)
}

/// What a directory really takes on the disk, as `du` counts it. Files that vanish meanwhile count as nothing.
pub fn disk_usage_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut bytes = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { disk_usage_bytes(&entry.path()) } else { metadata.blocks() * 512 };
    }
    bytes
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the kernel counts memory");
    line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).expect("a number of kB") * 1024
}
