//! Settings that change nothing here and are taken all the same, because people's tools and old configurations set them.

use std::collections::BTreeMap;

use super::kind::{bytes, integer};
use super::{Change, Declaration, Kind};

/// What this group is called in `--help` and README.
pub const GROUP: &str = "Accepted since Redis' tools set them, given back by CONFIG GET, without any effect";

/// Gives what CONFIG GET answers before anybody has set anything.
pub(super) fn defaults() -> BTreeMap<&'static str, String> {
    ACCEPTED
        .iter()
        .map(|setting| {
            let text = setting.kind.canonical(setting.default).expect("an accepted default is of its kind");
            (setting.name, text)
        })
        .collect()
}

macro_rules! accepted {
    ($( $(#[doc = $help:literal])+ $name:literal $(| $alias:literal)? = $default:literal, $kind:expr, $change:ident; )+) => {
        pub(super) static ACCEPTED: &[Declaration] = &[$(
            Declaration {
                name: $name,
                older_names: &[$($alias)?],
                group: GROUP,
                kind: $kind,
                default: $default,
                help: concat!($($help),+),
                change: Change::$change,
                get: |settings| settings.accepted.get($name).cloned().unwrap_or_default(),
                set: |settings, text| {
                    settings.accepted.insert($name, text.to_owned());
                },
            },
        )+];
    };
}

const INTEGER_MAX: i64 = i32::MAX as i64;

accepted! {
    /// Only yes: the log is always kept.
    "appendonly" = "yes", Kind::Choice(&["yes"]), Live;
    /// Snapshot times of Redis; the log and the checkpoints need none.
    "save" = "", Kind::Words, Live;
    /// Only noeviction: a job is never thrown away to make room.
    "maxmemory-policy" = "noeviction", Kind::Choice(&["noeviction"]), Live;
    /// Only empty: keyspace events are not published.
    "notify-keyspace-events" = "", Kind::Empty, Live;
    /// Name of Redis' append-only file; the log has segments instead.
    "appendfilename" = "appendonly.aof", Kind::Text, Fixed;
    /// Folder of Redis' append-only files.
    "appenddirname" = "appendonlydir", Kind::Text, Fixed;
    /// Name of Redis' snapshot file; there is none.
    "dbfilename" = "dump.rdb", Kind::Text, Fixed;
    /// How Redis packs short lists; lists are chunks here.
    "list-max-listpack-size" | "list-max-ziplist-size" = "-2", integer(-INTEGER_MAX, INTEGER_MAX), Live;
    /// How Redis compresses the middle of lists; cold chunks always are.
    "list-compress-depth" = "0", integer(0, INTEGER_MAX), Live;
    /// How Redis packs small hashes.
    "hash-max-listpack-entries" | "hash-max-ziplist-entries" = "512", integer(0, i64::MAX), Live;
    /// How Redis packs small hashes.
    "hash-max-listpack-value" | "hash-max-ziplist-value" = "64", bytes(0, u64::MAX), Live;
    /// How Redis packs small sets of integers.
    "set-max-intset-entries" = "512", integer(0, i64::MAX), Live;
    /// How Redis packs small sets.
    "set-max-listpack-entries" = "128", integer(0, i64::MAX), Live;
    /// How Redis packs small sets.
    "set-max-listpack-value" = "64", bytes(0, u64::MAX), Live;
    /// How Redis packs small sorted sets.
    "zset-max-listpack-entries" | "zset-max-ziplist-entries" = "128", integer(0, i64::MAX), Live;
    /// How Redis packs small sorted sets.
    "zset-max-listpack-value" | "zset-max-ziplist-value" = "64", bytes(0, u64::MAX), Live;
    /// How Redis packs HyperLogLogs.
    "hll-sparse-max-bytes" = "3000", bytes(0, u64::MAX), Live;
    /// How Redis packs streams.
    "stream-node-max-bytes" = "4096", bytes(0, u64::MAX), Live;
    /// How Redis packs streams.
    "stream-node-max-entries" = "100", integer(0, i64::MAX), Live;
    /// Microseconds from which Redis notes a slow command; no slow log is kept.
    "slowlog-log-slower-than" = "10000", integer(-1, i64::MAX), Live;
    /// Length of Redis' slow log.
    "slowlog-max-len" = "128", integer(0, i64::MAX), Live;
    /// Milliseconds from which Redis notes a latency event.
    "latency-monitor-threshold" = "0", integer(0, i64::MAX), Live;
    /// Whether Redis keeps latency histograms per command.
    "latency-tracking" = "yes", Kind::YesNo, Live;
    /// Removing is always lazy here.
    "lazyfree-lazy-eviction" = "no", Kind::YesNo, Live;
    /// Removing is always lazy here.
    "lazyfree-lazy-expire" = "no", Kind::YesNo, Live;
    /// Removing is always lazy here.
    "lazyfree-lazy-server-del" = "no", Kind::YesNo, Live;
    /// Removing is always lazy here.
    "lazyfree-lazy-user-del" = "no", Kind::YesNo, Live;
    /// Removing is always lazy here.
    "lazyfree-lazy-user-flush" = "no", Kind::YesNo, Live;
    /// Only no: there is nothing to defragment.
    "activedefrag" = "no", Kind::Choice(&["no"]), Live;
    /// Whether Redis rehashes in idle time.
    "activerehashing" = "yes", Kind::YesNo, Live;
    /// How often a second Redis does its chores; they are done as needed here.
    "hz" = "10", integer(1, 500), Live;
    /// Whether Redis does its chores more often with many clients.
    "dynamic-hz" = "yes", Kind::YesNo, Live;
    /// Whether Redis refuses writes after a failed snapshot; a failed log stops writes here, always.
    "stop-writes-on-bgsave-error" = "yes", Kind::YesNo, Live;
    /// Whether Redis compresses snapshots.
    "rdbcompression" = "yes", Kind::YesNo, Live;
    /// Whether Redis checks snapshots by a sum; every frame and chunk has one here.
    "rdbchecksum" = "yes", Kind::YesNo, Fixed;
    /// Whether Redis starts with a cut append-only file; an unsynced tail is always cut here, and said.
    "aof-load-truncated" = "yes", Kind::YesNo, Live;
    /// Whether Redis begins its append-only file with a snapshot.
    "aof-use-rdb-preamble" = "yes", Kind::YesNo, Live;
    /// When Redis rewrites its append-only file; checkpoints recycle the log here.
    "auto-aof-rewrite-percentage" = "100", integer(0, INTEGER_MAX), Live;
    /// When Redis rewrites its append-only file; checkpoints recycle the log here.
    "auto-aof-rewrite-min-size" = "64mb", bytes(0, i64::MAX as u64), Live;
    /// Whether Redis stops syncing during a rewrite.
    "no-appendfsync-on-rewrite" = "no", Kind::YesNo, Live;
    /// How many keys Redis looks at to evict one.
    "maxmemory-samples" = "5", integer(1, INTEGER_MAX), Live;
    /// Redis' limits on reply buffers; the clients' share of maxmemory is the limit here.
    "client-output-buffer-limit" = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", Kind::Words, Live;
    /// Redis' limit on request buffers; the clients' share of maxmemory is the limit here.
    "client-query-buffer-limit" = "1gb", bytes(1 << 20, i64::MAX as u64), Live;
    /// Only no: it runs in the foreground, as service managers want it.
    "daemonize" = "no", Kind::Choice(&["no"]), Fixed;
    /// How Redis tells its service manager that it is ready.
    "supervised" = "no", Kind::Choice(&["no", "auto"]), Fixed;
    /// Whether Redis draws its logo.
    "always-show-logo" = "no", Kind::YesNo, Fixed;
    /// Only no: one server holds every key.
    "cluster-enabled" = "no", Kind::Choice(&["no"]), Fixed;
}
