//! Every metric, declared once: name, unit, help, and where INFO shows it.
//!
//! Plain atomics that are written without order and read one by one: a figure in INFO may be a command older than its
//! neighbour. A leaf: it knows no other module.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

/// A number that only grows, until CONFIG RESETSTAT.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn count(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds without a locked instruction. Only the event loop may count like that.
    pub fn add_alone(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes both ways.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Sets it if that is more than it was.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes away; the caller has added it before.
    pub fn subtract(&self, n: u64) {
        let before = self.0.fetch_sub(n, Relaxed);
        debug_assert!(before >= n, "a gauge is never below zero");
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Buckets in each doubling: a quantile is at most an eighth too high.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Durations from 2^36 µs on, 19 hours, share the last bucket.
const DOUBLINGS: usize = 36;
const BUCKETS: usize = (DOUBLINGS - STEP_BITS as usize + 1) * STEPS;

/// How many durations fell into which range; recording costs two atomic additions and a maximum.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)), max_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Records one duration.
    pub fn record(&self, us: u64) {
        self.record_many(us, 1);
    }

    /// Records the same duration for all requests of a turn at once.
    pub fn record_many(&self, us: u64, n: u64) {
        self.buckets[bucket_of(us)].fetch_add(n, Relaxed);
        self.max_us.fetch_max(us, Relaxed);
    }

    pub fn max_us(&self) -> u64 {
        self.max_us.load(Relaxed)
    }

    /// Gives the duration that `per_mille` of a thousand did not exceed; 0 when nothing was recorded.
    pub fn quantile_us(&self, per_mille: u64) -> u64 {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = (total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return last_us_of(bucket).min(self.max_us());
            }
        }
        0
    }

    fn reset(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        self.max_us.store(0, Relaxed);
    }
}

/// The first `STEPS` buckets hold one microsecond each; every later doubling is cut into `STEPS` equal parts.
fn bucket_of(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let shift = us.ilog2() - STEP_BITS;
    let step = (us >> shift) as usize - STEPS;
    ((shift as usize + 1) * STEPS + step).min(BUCKETS - 1)
}

fn last_us_of(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let first = ((STEPS + bucket % STEPS) as u64) << shift;
    first + (1 << shift) - 1
}

/// The part of INFO in which a metric stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Clients,
    Stats,
    Millpond,
}

impl Section {
    /// Gives the line above the section, without its `# `.
    pub fn title(self) -> &'static str {
        match self {
            Section::Clients => "Clients",
            Section::Stats => "Stats",
            Section::Millpond => "Millpond",
        }
    }
}

/// One metric, as INFO and the documentation see it.
pub struct Declaration {
    /// Also the field's name in `Metrics`.
    pub name: &'static str,
    pub unit: &'static str,
    pub help: &'static str,
    pub section: Section,
    /// Redis' field name where Redis has one, otherwise ours.
    pub info_field: &'static str,
    value: fn(&Metrics) -> Reading<'_>,
}

enum Reading<'a> {
    Counter(&'a Counter),
    Gauge(&'a Gauge),
    Histogram(&'a Histogram),
}

/// Tells the three types apart where the table is made.
trait Read {
    fn read(&self) -> Reading<'_>;
}

impl Read for Counter {
    fn read(&self) -> Reading<'_> {
        Reading::Counter(self)
    }
}

impl Read for Gauge {
    fn read(&self) -> Reading<'_> {
        Reading::Gauge(self)
    }
}

impl Read for Histogram {
    fn read(&self) -> Reading<'_> {
        Reading::Histogram(self)
    }
}

/// Declares `Metrics` and `METRICS` at once. A line is `/// help` `field: Type, "unit", "INFO field";`
macro_rules! metrics {
    ($($section:ident { $( $(#[doc = $help:literal])+ $field:ident: $type:ident, $unit:literal, $info:literal; )+ })+) => {
        /// All metrics of one server; shared by an `Arc`.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($( $(#[doc = $help])+ pub $field: $type, )+)+
            /// For the port of metrics.
            pub page: Page,
            rate: Rate,
        }

        /// The metrics in the order in which INFO shows them.
        pub static METRICS: &[Declaration] = &[$($(
            Declaration {
                name: stringify!($field),
                unit: $unit,
                help: concat!($($help),+),
                section: Section::$section,
                info_field: $info,
                value: |metrics| metrics.$field.read(),
            },
        )+)+];
    };
}

metrics! {
    Clients {
        /// Clients that are connected.
        connected_clients: Gauge, "clients", "connected_clients";
        /// Clients that wait in a blocking command.
        blocked_clients: Gauge, "clients", "blocked_clients";
    }
    Stats {
        /// Connections accepted.
        connections_received: Counter, "connections", "total_connections_received";
        /// Commands run, those inside of EXEC and scripts included.
        commands_processed: Counter, "commands", "total_commands_processed";
        /// Commands a second, over the last second or so.
        commands_per_second: Gauge, "commands/s", "instantaneous_ops_per_sec";
        /// Bytes read from clients.
        net_input_bytes: Counter, "bytes", "total_net_input_bytes";
        /// Bytes written to clients.
        net_output_bytes: Counter, "bytes", "total_net_output_bytes";
        /// Connections turned away, because there were maxclients already or by protected-mode.
        connections_rejected: Counter, "connections", "rejected_connections";
        /// Keys that were deleted because their time was over.
        keys_expired: Counter, "keys", "expired_keys";
        /// Always 0: no key is thrown away to make room.
        keys_evicted: Counter, "keys", "evicted_keys";
        /// Look-ups by reading commands that found their key.
        keyspace_hits: Counter, "keys", "keyspace_hits";
        /// Look-ups by reading commands that found no key.
        keyspace_misses: Counter, "keys", "keyspace_misses";
        /// Jobs that the sweeper has taken out of queues because rules said so.
        jobs_swept: Counter, "jobs", "jobs_swept";
        /// Channels that somebody subscribes to.
        pubsub_channels: Gauge, "channels", "pubsub_channels";
        /// Patterns that somebody subscribes to.
        pubsub_patterns: Gauge, "patterns", "pubsub_patterns";
        /// Error replies.
        error_replies: Counter, "replies", "total_error_replies";
        /// Reads from sockets.
        reads_processed: Counter, "reads", "total_reads_processed";
        /// Writes to sockets.
        writes_processed: Counter, "writes", "total_writes_processed";
    }
    Millpond {
        /// Connections closed because they held too much memory, or did not read what they had subscribed to.
        connections_shed: Counter, "connections", "connections_shed";
        /// Turns taken.
        turns: Counter, "turns", "turns";
        /// How long turns took.
        turn_time: Histogram, "µs", "turn_us";
        /// How long requests stayed in the server, from the turn that took them to their written reply; waiting not counted.
        request_time: Histogram, "µs", "request_us";
        /// Batches of chunks handed to the store.
        spills: Counter, "batches", "spills";
        /// Bytes of chunks handed to the store, before compression.
        spilled_bytes: Counter, "bytes", "spilled_bytes";
        /// Chunks and whole values that lie in the store only.
        cold_chunks: Gauge, "chunks", "cold_chunks";
        /// Commands that had to wait for data from the store.
        fetches: Counter, "commands", "fetches";
        /// Bytes brought back for commands that waited.
        fetched_bytes: Counter, "bytes", "fetched_bytes";
        /// Chunks read ahead of the workers.
        prefetches: Counter, "chunks", "prefetches";
        /// Commands that ran in bounded steps over more data than is brought in at once.
        walks: Counter, "commands", "walks";
        /// Runs again of a command whose data had come, or whose key had grown.
        reruns: Counter, "runs", "reruns";
        /// Reads on the spot, after a script's first write.
        spot_reads: Counter, "reads", "spot_reads";
        /// Checkpoints completed.
        checkpoints: Counter, "checkpoints", "checkpoints";
        /// Effects that recovery applied at the start.
        replayed_ops: Counter, "effects", "replayed_ops";
        /// Bytes of the log that a recovery would have to read.
        log_bytes: Gauge, "bytes", "log_bytes";
        /// Effects that a recovery would have to apply.
        log_effects: Gauge, "effects", "log_effects";
        /// Frames appended to the log.
        log_frames: Counter, "frames", "log_frames";
        /// Number of the last frame appended.
        log_lsn: Gauge, "lsn", "log_lsn";
        /// Number of the last frame that is known to be on the disk.
        log_durable_lsn: Gauge, "lsn", "log_durable_lsn";
        /// Commands that were refused for want of memory or disk.
        oom_refusals: Counter, "commands", "oom_refusals";
        /// Commands that waited because the store was behind.
        push_waits: Counter, "commands", "push_waits";
        /// Memory of objects, list heads and tails, and chunk references.
        memory_objects_bytes: Gauge, "bytes", "memory_objects_bytes";
        /// Memory of chunks on their way to the store.
        memory_spills_bytes: Gauge, "bytes", "memory_spills_bytes";
        /// Memory of chunks that were read ahead.
        memory_prefetch_bytes: Gauge, "bytes", "memory_prefetch_bytes";
        /// Memory of requests that arrive and replies that wait for a slow reader.
        memory_clients_bytes: Gauge, "bytes", "memory_clients_bytes";
        /// Memory of the store's block cache.
        memory_cache_bytes: Gauge, "bytes", "memory_cache_bytes";
        /// Memory outside of the shares: the store's write buffers, Lua and its scripts.
        memory_fixed_bytes: Gauge, "bytes", "memory_fixed_bytes";
        /// The most that all of these together have been.
        memory_peak_bytes: Gauge, "bytes", "memory_peak_bytes";
    }
}

/// What the port for metrics shows besides.
#[derive(Debug, Default)]
pub struct Page {
    wanted: AtomicBool,
    ready: AtomicBool,
    text: Mutex<String>,
}

impl Page {
    /// Somebody may read it.
    pub fn want(&self) {
        self.wanted.store(true, Relaxed);
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// The server answers its clients.
    pub fn set_ready(&self) {
        self.ready.store(true, Relaxed);
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Shows these lines behind the metrics.
    pub fn show(&self, text: String) {
        *self.text.lock() = text;
    }
}

/// A value of a label as Prometheus' text format wants it.
pub fn label(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// How long `tick` collects before it says how many commands a second there were.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Where the last window of the rates began, and what Redis shows of the bytes in it.
#[derive(Debug, Default)]
struct Rate {
    at_us: AtomicU64,
    commands: AtomicU64,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    input_bytes_per_second: AtomicU64,
    output_bytes_per_second: AtomicU64,
}

impl Metrics {
    /// Gives the section's lines, `field:value` each, without its title.
    ///
    /// A histogram has three: `_p50`, `_p99` and `_max`.
    pub fn info(&self, section: Section) -> String {
        let mut text = String::new();
        for metric in METRICS.iter().filter(|metric| metric.section == section) {
            metric.write(self, &mut text);
        }
        text
    }

    /// Gives all of them in Prometheus' text format, and what the page shows besides.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        METRICS.iter().for_each(|metric| metric.write_prometheus(self, &mut text));
        text + &self.page.text.lock()
    }

    /// Gives what counts in maxmemory, all shares together, and what stands outside of them.
    pub fn memory_bytes(&self) -> u64 {
        let parts = [
            &self.memory_objects_bytes,
            &self.memory_spills_bytes,
            &self.memory_prefetch_bytes,
            &self.memory_clients_bytes,
            &self.memory_cache_bytes,
            &self.memory_fixed_bytes,
        ];
        parts.iter().map(|part| part.get()).sum()
    }

    /// Gives the bytes a second that came and went, over the last second or so.
    pub fn bytes_per_second(&self) -> (u64, u64) {
        (self.rate.input_bytes_per_second.load(Relaxed), self.rate.output_bytes_per_second.load(Relaxed))
    }

    /// Brings the rates up to date; called once a turn, costs next to nothing.
    pub fn tick(&self, mono: Duration) {
        let (now_us, since_us) = (mono.as_micros() as u64, self.rate.at_us.load(Relaxed));
        let passed_us = now_us.saturating_sub(since_us);
        if passed_us < RATE_WINDOW.as_micros() as u64 {
            return;
        }
        let per_second = |counter: &Counter, before: &AtomicU64| {
            let count = counter.get();
            let new = count.saturating_sub(before.swap(count, Relaxed));
            new.saturating_mul(1_000_000) / passed_us
        };
        let rate = &self.rate;
        rate.at_us.store(now_us, Relaxed);
        self.commands_per_second.set(per_second(&self.commands_processed, &rate.commands));
        rate.input_bytes_per_second.store(per_second(&self.net_input_bytes, &rate.input_bytes), Relaxed);
        rate.output_bytes_per_second.store(per_second(&self.net_output_bytes, &rate.output_bytes), Relaxed);
    }

    /// Starts the counters of `Stats` and all histograms again, as CONFIG RESETSTAT asks for.
    ///
    /// The other counters of `Millpond` go on: they tell of what lies on the disk since the start.
    pub fn reset_statistics(&self) {
        for metric in METRICS {
            match (metric.value)(self) {
                Reading::Counter(counter) if metric.section == Section::Stats => counter.0.store(0, Relaxed),
                Reading::Histogram(histogram) => histogram.reset(),
                _ => {}
            }
        }
        for counted in [&self.rate.commands, &self.rate.input_bytes, &self.rate.output_bytes] {
            counted.store(0, Relaxed);
        }
    }
}

impl Declaration {
    fn write(&self, metrics: &Metrics, text: &mut String) {
        let field = self.info_field;
        match (self.value)(metrics) {
            Reading::Counter(counter) => write!(text, "{field}:{}\r\n", counter.get()),
            Reading::Gauge(gauge) => write!(text, "{field}:{}\r\n", gauge.get()),
            Reading::Histogram(times) => write!(
                text,
                "{field}_p50:{}\r\n{field}_p99:{}\r\n{field}_max:{}\r\n",
                times.quantile_us(500),
                times.quantile_us(990),
                times.max_us()
            ),
        }
        .expect("writing to a String does not fail");
    }

    /// A counter ends in `_total`; of a histogram there are quantiles, in seconds.
    fn write_prometheus(&self, metrics: &Metrics, text: &mut String) {
        let (name, help) = (self.name, self.help.trim());
        let mut put = |name: &str, kind: &str, lines: &[(&str, f64)]| {
            write!(text, "# HELP millpond_{name} {help}\n# TYPE millpond_{name} {kind}\n").expect("memory takes it");
            for (label, value) in lines {
                writeln!(text, "millpond_{name}{label} {value}").expect("memory takes it");
            }
        };
        match (self.value)(metrics) {
            Reading::Counter(counter) => put(&format!("{name}_total"), "counter", &[("", counter.get() as f64)]),
            Reading::Gauge(gauge) => put(name, "gauge", &[("", gauge.get() as f64)]),
            Reading::Histogram(times) => {
                let seconds = |us: u64| us as f64 / 1e6;
                let quantiles = [
                    ("{quantile=\"0.5\"}", seconds(times.quantile_us(500))),
                    ("{quantile=\"0.99\"}", seconds(times.quantile_us(990))),
                    ("{quantile=\"1\"}", seconds(times.max_us())),
                ];
                put(&format!("{name}_seconds"), "gauge", &quantiles);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for us in (0..5000).chain([1 << 20, (1 << 20) + 1, (1 << 35) - 1, 1 << 35]) {
            let bucket = bucket_of(us);
            assert!(last_us_of(bucket) >= us, "{us} is in a bucket that ends before it");
            assert!(bucket == 0 || last_us_of(bucket - 1) < us, "{us} belongs to an earlier bucket");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_at_most_an_eighth_too_high() {
        let times = Histogram::default();
        assert_eq!(times.quantile_us(990), 0);
        (1..=1000).for_each(|us| times.record(us));
        for (per_mille, exact) in [(500, 500), (990, 990), (1000, 1000)] {
            let found = times.quantile_us(per_mille);
            assert!((exact..=exact + exact / 8).contains(&found), "{per_mille}: {found}");
        }
        assert_eq!(times.max_us(), 1000);
    }

    #[test]
    fn info_has_redis_names_and_every_metric_once() {
        let metrics = Metrics::default();
        metrics.connections_received.add(3);
        metrics.turn_time.record(7);
        assert!(metrics.info(Section::Stats).starts_with("total_connections_received:3\r\n"));
        assert!(metrics.info(Section::Millpond).contains("turn_us_p50:7\r\nturn_us_p99:7\r\nturn_us_max:7\r\n"));
        let mut fields = std::collections::BTreeSet::new();
        for metric in METRICS {
            assert!(fields.insert(metric.info_field), "{} stands twice", metric.info_field);
            assert!(metric.help.trim().ends_with('.') && !metric.unit.is_empty(), "{}", metric.name);
        }
    }

    #[test]
    fn the_page_is_in_the_text_format_of_prometheus() {
        let metrics = Metrics::default();
        metrics.commands_processed.add(3);
        metrics.turn_time.record(2_000);
        metrics.page.show(format!("millpond_x{{queue=\"{}\"}} 1\n", label(b"a\"b\\c\nd")));
        let page = metrics.prometheus();
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines.contains(&"millpond_commands_processed_total 3"), "{page}");
        assert!(lines.contains(&"# TYPE millpond_commands_processed_total counter"));
        assert!(lines.contains(&"millpond_turn_time_seconds{quantile=\"1\"} 0.002"));
        assert_eq!(lines.last(), Some(&r#"millpond_x{queue="a\"b\\c\nd"} 1"#));
        let names = lines.iter().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = names.map(|line| line.split(' ').next().expect("a name")).collect();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "each once");
    }

    #[test]
    fn the_rate_is_that_of_the_last_window() {
        let metrics = Metrics::default();
        metrics.commands_processed.add(500);
        metrics.net_input_bytes.add(5000);
        metrics.net_output_bytes.add_alone(600);
        metrics.tick(Duration::from_secs(2));
        assert_eq!(metrics.commands_per_second.get(), 250);
        assert_eq!(metrics.bytes_per_second(), (2500, 300));
        metrics.commands_processed.add(500);
        metrics.tick(Duration::from_millis(2500));
        assert_eq!(metrics.commands_per_second.get(), 250, "half a window says nothing");
        metrics.tick(Duration::from_secs(3));
        assert_eq!(metrics.commands_per_second.get(), 500);
    }

    #[test]
    fn a_reset_starts_the_statistics_again_and_leaves_the_rest() {
        let metrics = Metrics::default();
        metrics.commands_processed.count();
        metrics.spills.count();
        metrics.turn_time.record(9);
        metrics.connected_clients.add(2);
        metrics.reset_statistics();
        assert_eq!((metrics.commands_processed.get(), metrics.turn_time.max_us()), (0, 0));
        assert_eq!((metrics.spills.get(), metrics.connected_clients.get()), (1, 2));
    }
}
