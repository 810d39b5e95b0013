//! The text of INFO: what Redis' tools look for, under Redis' names, and a section of our own figures.
//!
//! What is not counted here is left out or 0 where a tool would miss the line.

use std::fmt::Write;
use std::time::Duration;

use crate::clock::Now;
use crate::command::REDIS_VERSION;
use crate::keyspace::Keyspace;
use crate::metrics::{Metrics, Section};
use crate::sched::Scheduler;
use crate::settings::Settings;

use super::figures::JobFigures;

/// What stays the same while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// 40 hexadecimal digits, chosen at the start.
    pub run_id: String,
    pub process_id: u32,
    /// Kernel and machine.
    pub os: String,
    pub executable: String,
    /// Empty if there is none.
    pub config_file: String,
    /// Memory of the whole machine.
    pub machine_memory_bytes: u64,
}

impl Identity {
    /// Asks the system; what it does not tell stays empty.
    pub fn read(run_id: String, config_file: String) -> Identity {
        let kernel = read_text("/proc/sys/kernel/osrelease");
        Identity {
            run_id,
            process_id: std::process::id(),
            os: format!("Linux {} {}", kernel.trim(), std::env::consts::ARCH),
            executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
            config_file,
            machine_memory_bytes: kilobytes(&read_text("/proc/meminfo"), "MemTotal:"),
        }
    }
}

/// What the process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
    pub cpu_user: Duration,
    pub cpu_system: Duration,
}

/// Linux counts the times that it shows in hundredths, whatever its own tick is.
const CPU_TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// Asks the system: two small files without a disk behind them.
    pub fn read() -> Usage {
        let status = read_text("/proc/self/status");
        let (cpu_user, cpu_system) = cpu_times(&read_text("/proc/self/stat"));
        Usage {
            rss_bytes: kilobytes(&status, "VmRSS:"),
            rss_peak_bytes: kilobytes(&status, "VmHWM:"),
            cpu_user,
            cpu_system,
        }
    }
}

fn read_text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Finds `field   123 kB`, in bytes.
fn kilobytes(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// User and system time are the 14th and 15th field; the 2nd, the name, is the only one that may hold spaces.
fn cpu_times(stat: &str) -> (Duration, Duration) {
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace().skip(11);
    let mut time = || {
        let ticks = fields.next().and_then(|ticks| ticks.parse::<u32>().ok()).unwrap_or(0);
        CPU_TICK * ticks
    };
    (time(), time())
}

/// What the shard knows at the moment.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub identity: &'a Identity,
    pub now: Now,
    pub uptime: Duration,
    pub usage: Usage,
    pub scripts: usize,
    pub script_sources_bytes: usize,
    pub lua_bytes: usize,
    /// The log can be written.
    pub log_is_well: bool,
}

/// All that a section is written from.
struct View<'a> {
    settings: &'a Settings,
    metrics: &'a Metrics,
    facts: &'a Facts<'a>,
    keys: &'a Keyspace,
    jobs: &'a Scheduler,
}

/// When a section is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// By INFO alone.
    Always,
    /// By INFO ALL, or by its name.
    Asked,
}

struct Chapter {
    title: &'static str,
    shown: Shown,
    write: fn(&View, &mut Lines),
}

/// In Redis' order; ours are the last.
const CHAPTERS: &[Chapter] = &[
    Chapter { title: "Server", shown: Shown::Always, write: server },
    Chapter { title: "Clients", shown: Shown::Always, write: clients },
    Chapter { title: "Memory", shown: Shown::Always, write: memory },
    Chapter { title: "Persistence", shown: Shown::Always, write: persistence },
    Chapter { title: "Stats", shown: Shown::Always, write: stats },
    Chapter { title: "Replication", shown: Shown::Always, write: replication },
    Chapter { title: "CPU", shown: Shown::Always, write: cpu },
    // Not counted command by command; the titles are there for tools that ask.
    Chapter { title: "Modules", shown: Shown::Always, write: |_, _| {} },
    Chapter { title: "Commandstats", shown: Shown::Asked, write: |_, _| {} },
    Chapter { title: "Errorstats", shown: Shown::Always, write: |_, _| {} },
    Chapter { title: "Latencystats", shown: Shown::Asked, write: |_, _| {} },
    Chapter { title: "Cluster", shown: Shown::Always, write: |_, lines| lines.put("cluster_enabled", 0) },
    Chapter { title: "Keyspace", shown: Shown::Always, write: keyspace },
    Chapter {
        title: "Jobs",
        shown: Shown::Asked,
        write: |view, lines| lines.0 += &JobFigures::of(view.keys, view.jobs).info(),
    },
    Chapter {
        title: "Millpond",
        shown: Shown::Asked,
        write: |view, lines| lines.0 += &view.metrics.info(Section::Millpond),
    },
];

impl Chapter {
    /// Tells whether one of these names, in lower case, asks for it. `everything` is `all` with what modules say.
    fn is_asked_for(&self, names: &[String]) -> bool {
        let usual = self.shown == Shown::Always;
        names.is_empty() && usual
            || names.iter().any(|name| match name.as_str() {
                "all" | "everything" => true,
                "default" => usual,
                name => self.title.eq_ignore_ascii_case(name),
            })
    }
}

/// Lines of `field:value`, ended as in Redis.
struct Lines(String);

impl Lines {
    fn put(&mut self, field: &str, value: impl std::fmt::Display) {
        write!(self.0, "{field}:{value}\r\n").expect("writing to a String does not fail");
    }

    /// A size, and again as a person reads it.
    fn put_size(&mut self, field: &str, bytes: u64) {
        self.put(field, bytes);
        self.put(&format!("{field}_human"), human(bytes));
    }

    fn put_zeros(&mut self, fields: &[&str]) {
        fields.iter().for_each(|field| self.put(field, 0));
    }
}

/// Writes INFO for these sections, in lower case; none for the usual ones. An unknown name gives nothing, as in Redis.
pub fn text(
    settings: &Settings,
    metrics: &Metrics,
    facts: &Facts,
    (keys, jobs): (&Keyspace, &Scheduler),
    sections: &[String],
) -> String {
    let view = View { settings, metrics, facts, keys, jobs };
    let chapters = CHAPTERS.iter().filter(|chapter| chapter.is_asked_for(sections)).map(|chapter| {
        let mut lines = Lines(format!("# {}\r\n", chapter.title));
        (chapter.write)(&view, &mut lines);
        lines.0
    });
    chapters.collect::<Vec<_>>().join("\r\n")
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn server(view: &View, lines: &mut Lines) {
    let (identity, facts) = (view.facts.identity, view.facts);
    // Sidekiq looks for the version first, and for names of other servers, which must not be here.
    lines.put("redis_version", REDIS_VERSION);
    lines.put("redis_git_sha1", "00000000");
    lines.put("redis_git_dirty", 0);
    lines.put("redis_build_id", "0");
    lines.put("redis_mode", "standalone");
    lines.put("millpond_version", env!("CARGO_PKG_VERSION"));
    lines.put("os", &identity.os);
    lines.put("arch_bits", usize::BITS);
    lines.put("monotonic_clock", "POSIX clock_gettime");
    lines.put("multiplexing_api", "epoll");
    lines.put("process_id", identity.process_id);
    lines.put("process_supervised", "no");
    lines.put("run_id", &identity.run_id);
    lines.put("tcp_port", view.settings.port);
    lines.put("server_time_usec", facts.now.wall_us);
    lines.put("uptime_in_seconds", facts.uptime.as_secs());
    lines.put("uptime_in_days", facts.uptime.as_secs() / DAY.as_secs());
    let hz = view.settings.matching(|name| name == "hz").pop().map(|(_, value)| value).unwrap_or_default();
    lines.put("hz", &hz);
    lines.put("configured_hz", &hz);
    lines.put("lru_clock", (facts.now.wall_us / 1_000_000) & LRU_CLOCK_MAX);
    lines.put("executable", &identity.executable);
    lines.put("config_file", &identity.config_file);
    lines.put("io_threads_active", 0);
}

/// Redis keeps 24 bits of the seconds.
const LRU_CLOCK_MAX: u64 = (1 << 24) - 1;

fn clients(view: &View, lines: &mut Lines) {
    lines.0 += &view.metrics.info(Section::Clients);
    lines.put("maxclients", view.settings.maxclients);
    lines.put_zeros(&[
        "cluster_connections",
        "client_recent_max_input_buffer",
        "client_recent_max_output_buffer",
        "tracking_clients",
        "clients_in_timeout_table",
    ]);
}

fn memory(view: &View, lines: &mut Lines) {
    let facts = view.facts;
    // As our own account has it: the allocator could only tell by walking over all that it has free.
    let used = view.metrics.memory_bytes();
    let peak = view.metrics.memory_peak_bytes.get().max(used);
    lines.put_size("used_memory", used);
    lines.put_size("used_memory_rss", facts.usage.rss_bytes);
    lines.put("used_memory_rss_peak", facts.usage.rss_peak_bytes);
    lines.put_size("used_memory_peak", peak);
    lines.put("used_memory_peak_perc", format_args!("{:.2}%", ratio(used, peak) * 100.0));
    lines.put("used_memory_overhead", used - view.metrics.memory_objects_bytes.get());
    lines.put("used_memory_startup", 0);
    let dataset = view.metrics.memory_objects_bytes.get();
    lines.put("used_memory_dataset", dataset);
    lines.put("used_memory_dataset_perc", format_args!("{:.2}%", ratio(dataset, used) * 100.0));
    lines.put_size("total_system_memory", facts.identity.machine_memory_bytes);
    lines.put_size("used_memory_lua", facts.lua_bytes as u64);
    lines.put_size("used_memory_scripts", facts.script_sources_bytes as u64);
    lines.put("number_of_cached_scripts", facts.scripts);
    lines.put_zeros(&["number_of_functions", "number_of_libraries"]);
    lines.put_size("maxmemory", view.settings.maxmemory_bytes);
    lines.put("maxmemory_policy", "noeviction");
    lines.put("mem_fragmentation_ratio", format_args!("{:.2}", ratio(facts.usage.rss_bytes, used)));
    lines.put("mem_fragmentation_bytes", facts.usage.rss_bytes as i64 - used as i64);
    lines.put("mem_clients_normal", view.metrics.memory_clients_bytes.get());
    lines.put("mem_allocator", "libc");
    lines.put_zeros(&["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"]);
}

fn persistence(view: &View, lines: &mut Lines) {
    let status = if view.facts.log_is_well { "ok" } else { "err" };
    // Nothing listens before everything is loaded, and every write is in the log before its reply.
    lines.put_zeros(&["loading", "async_loading", "rdb_changes_since_last_save", "rdb_bgsave_in_progress"]);
    lines.put("rdb_last_save_time", view.facts.now.wall_us / 1_000_000);
    lines.put("rdb_last_bgsave_status", status);
    lines.put("rdb_last_bgsave_time_sec", -1);
    lines.put("rdb_current_bgsave_time_sec", -1);
    lines.put("aof_enabled", 1);
    lines.put_zeros(&["aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    lines.put("aof_last_rewrite_time_sec", -1);
    lines.put("aof_current_rewrite_time_sec", -1);
    lines.put("aof_last_bgrewrite_status", "ok");
    lines.put("aof_last_write_status", status);
    lines.put("aof_current_size", view.metrics.log_bytes.get());
    lines.put("aof_base_size", 0);
    lines.put("aof_pending_rewrite", 0);
}

fn stats(view: &View, lines: &mut Lines) {
    lines.0 += &view.metrics.info(Section::Stats);
    let (input, output) = view.metrics.bytes_per_second();
    lines.put("instantaneous_input_kbps", format_args!("{:.2}", input as f64 / 1024.0));
    lines.put("instantaneous_output_kbps", format_args!("{:.2}", output as f64 / 1024.0));
    lines.put_zeros(&[
        "sync_full",
        "sync_partial_ok",
        "sync_partial_err",
        "pubsubshard_channels",
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "unexpected_error_replies",
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
    ]);
}

fn replication(view: &View, lines: &mut Lines) {
    lines.put("role", "master");
    lines.put("connected_slaves", 0);
    lines.put("master_failover_state", "no-failover");
    lines.put("master_replid", &view.facts.identity.run_id);
    lines.put("master_replid2", "0".repeat(40));
    lines.put("master_repl_offset", 0);
    lines.put("second_repl_offset", -1);
    lines.put_zeros(&[
        "repl_backlog_active",
        "repl_backlog_size",
        "repl_backlog_first_byte_offset",
        "repl_backlog_histlen",
    ]);
}

fn cpu(view: &View, lines: &mut Lines) {
    let usage = view.facts.usage;
    lines.put("used_cpu_sys", format_args!("{:.6}", usage.cpu_system.as_secs_f64()));
    lines.put("used_cpu_user", format_args!("{:.6}", usage.cpu_user.as_secs_f64()));
    lines.put("used_cpu_sys_children", "0.000000");
    lines.put("used_cpu_user_children", "0.000000");
}

fn keyspace(view: &View, lines: &mut Lines) {
    for database in 0..view.keys.database_count() {
        let (keys, expires) = view.keys.counts(database);
        if keys > 0 {
            lines.put(&format!("db{database}"), format_args!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A size as Redis writes it for people: `1.50M`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    format!("{:.2}{}", bytes as f64 / 1024_f64.powi(power as i32), UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Budget, Kind, Sizes};
    use crate::settings::Profile;

    fn keys() -> Keyspace {
        let sizes =
            Sizes { chunk_bytes: 64 << 10, inline_bytes_max: 4 << 10, piece_bytes: 64 << 10, prefetch_bytes: 0 };
        let budget = Budget { objects_bytes: 1 << 20, spills_bytes: 1 << 20, batch_bytes: 1 << 20, evict_all: false };
        Keyspace::new(16, sizes, budget)
    }

    fn info(sections: &[&str]) -> String {
        let metrics = Metrics::default();
        metrics.memory_objects_bytes.set(1 << 20);
        metrics.memory_prefetch_bytes.set(1 << 18);
        metrics.memory_fixed_bytes.set(1 << 18);
        metrics.memory_peak_bytes.raise(3 << 20);
        let identity = Identity { run_id: "ab".repeat(20), ..Identity::default() };
        let facts = Facts {
            identity: &identity,
            now: Now { wall_us: 1_700_000_000_000_000, mono: Duration::from_secs(90_000) },
            uptime: Duration::from_secs(90_000),
            usage: Usage { rss_bytes: 3 << 20, ..Usage::default() },
            scripts: 1,
            script_sources_bytes: 100,
            lua_bytes: 2048,
            log_is_well: true,
        };
        let mut keys = keys();
        keys.begin(1, 3);
        keys.create(b"s", Kind::String).expect("there is room");
        let sections: Vec<String> = sections.iter().map(|section| (*section).to_owned()).collect();
        text(&Settings::defaults(Profile::Ordinary), &metrics, &facts, (&keys, &Scheduler::default()), &sections)
    }

    fn titles(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("# ")).collect()
    }

    fn check(text: &str, line: &str) {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is not in\n{text}");
    }

    #[test]
    fn clients_find_the_fields_that_they_look_for() {
        let text = info(&[]);
        for line in [
            "redis_version:7.2.4",
            "redis_mode:standalone",
            "uptime_in_days:1",
            "connected_clients:0",
            "used_memory:1572864",
            "used_memory_human:1.50M",
            "used_memory_peak_human:3.00M",
            "used_memory_peak_perc:50.00%",
            "used_memory_overhead:524288",
            "used_memory_dataset:1048576",
            "maxmemory_human:256.00M",
            "maxmemory_policy:noeviction",
            "mem_fragmentation_ratio:2.00",
            "mem_allocator:libc",
            "loading:0",
            "aof_enabled:1",
            "aof_last_write_status:ok",
            "role:master",
            "cluster_enabled:0",
            "db3:keys=1,expires=0,avg_ttl=0",
        ] {
            check(&text, line);
        }
    }

    #[test]
    fn no_other_server_is_named() {
        let text = info(&["everything"]);
        assert!(!text.contains("dragonfly") && !text.contains("valkey"));
    }

    #[test]
    fn every_line_is_a_title_a_field_or_empty_and_no_field_stands_twice() {
        let text = info(&["all"]);
        let mut fields = std::collections::BTreeSet::new();
        for line in text.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            let (field, _) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
            assert!(fields.insert(field.to_owned()), "{field} stands twice");
        }
    }

    #[test]
    fn sections_are_chosen_as_in_redis() {
        let usual = titles(&info(&[])).len();
        assert_eq!(titles(&info(&["default"])).len(), usual);
        assert_eq!(titles(&info(&["everything"])).len(), CHAPTERS.len());
        assert_eq!(titles(&info(&["default", "millpond"])).len(), usual + 1);
        assert_eq!(titles(&info(&["keyspace", "cpu"])), ["CPU", "Keyspace"]);
        assert_eq!(info(&["nosuch"]), "");
        assert!(info(&["replication", "keyspace"]).contains("\r\n\r\n# Keyspace\r\n"));
    }

    #[test]
    fn sizes_are_written_as_redis_writes_them() {
        let check = |bytes, expected: &str| assert_eq!(human(bytes), expected);
        check(0, "0B");
        check(1023, "1023B");
        check(1024, "1.00K");
        check(1 << 20, "1.00M");
        check(25_276_063_744, "23.54G");
        check(u64::MAX, "16777216.00T");
    }

    #[test]
    fn the_process_knows_its_own_use() {
        let usage = Usage::read();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes);
        let (user, system) = cpu_times("1 (a ) b) S 0 0 0 0 0 0 0 0 0 0 150 7 0 0");
        assert_eq!((user, system), (Duration::from_millis(1500), Duration::from_millis(70)));
        assert!(Identity::read(String::new(), String::new()).machine_memory_bytes > usage.rss_bytes);
    }
}
