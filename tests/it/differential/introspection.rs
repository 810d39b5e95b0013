//! What INFO and COMMAND tell, compared field by field: what is Redis' must be there, but for what is listed here.

use super::differences::Asked;
use crate::harness::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How fields of INFO begin that tell of what Millpond does not have.
const NO_COUNTERPART: &[(&str, &[&str])] = &[
    ("no statistics of single commands are kept", &["cmdstat_", "errorstat_", "latency_percentiles_usec_"]),
    (
        "the allocator tells nothing, and nothing is moved",
        &["allocator_", "rss_overhead_", "active_defrag_", "total_active_defrag", "current_active_defrag"],
    ),
    (
        "nothing is evicted for good",
        &["total_eviction", "current_eviction", "evicted_clients", "mem_not_counted_for_evict"],
    ),
    (
        "no process forks, no file is written anew, and nothing is buffered before the log",
        &[
            "current_cow_",
            "current_fork_perc",
            "current_save_keys_",
            "module_fork_",
            "rdb_last_cow_size",
            "rdb_last_load_keys_",
            "rdb_saves",
            "aof_buffer_length",
            "aof_delayed_fsync",
            "aof_last_cow_size",
            "aof_pending_bio_fsync",
            "aof_rewrites",
            "mem_aof_buffer",
        ],
    ),
    (
        "there is no replication and no cluster",
        &[
            "instantaneous_input_repl_",
            "instantaneous_output_repl_",
            "mem_clients_slaves",
            "mem_cluster_links",
            "mem_replication_backlog",
            "mem_total_replication_buffers",
            "slave_expires_tracked_keys",
            "total_net_repl_",
        ],
    ),
    ("no client tracks keys", &["tracking_total_"]),
    ("nothing looks for expired keys by chance", &["expired_stale_perc", "expired_time_cap_", "expire_cycle_cpu_"]),
    (
        "there are no functions, and scripts are counted as a whole",
        &["used_memory_functions", "used_memory_scripts_eval", "used_memory_vm_"],
    ),
    ("tells how Redis was built", &["atomicvar_api", "gcc_version"]),
    (
        "tells of a mechanism of Redis",
        &["dump_payload_sanitizations", "reply_buffer_", "used_cpu_sys_main_thread", "used_cpu_user_main_thread"],
    ),
];

/// Flags of COMMAND INFO that Millpond leaves out, each with the reason.
const FLAGS_LEFT_OUT: &[(&str, &str)] = &[
    ("no_async_loading", "nothing listens before everything is loaded"),
    ("noscript", "since 7.2 a script may call the blocking forms, which then do not wait"),
    ("skip_monitor", "there is no MONITOR"),
    ("no_mandatory_keys", "told by the key specification"),
    ("write", "FUNCTION FLUSH has nothing to remove"),
];
/// ACL categories of COMMAND INFO that Millpond leaves out: SORT belongs to no single type, FUNCTION FLUSH writes nothing.
const CATEGORIES_LEFT_OUT: &[&str] = &["@set", "@list", "@sortedset", "@write"];
/// Their key specifications tell where their keys are, and so does COMMAND GETKEYS; the three old numbers are 0.
const KEYS_TOLD_AS_MOVABLE: &[&str] = &["sort", "zdiffstore", "zinterstore", "zunionstore"];
/// They take one word more since 7.2.
const ARITY_SINCE_7_2: &[&str] = &["zrank", "zrevrank"];
const NAMES_SINCE_7_2: &[&str] = &["client|no-touch", "client|setinfo"];

/// Whether a command is of Millpond's own, which Redis has nothing to say about.
pub fn is_own(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with("job.")
}

/// Whether Millpond's INFO has every field of Redis' that has a counterpart.
pub fn has_the_fields(millpond: &Value, redis: &Value) -> bool {
    let (Value::Bulk(_) | Value::Verbatim(..), Value::Bulk(_) | Value::Verbatim(..)) = (millpond, redis) else {
        return false;
    };
    let fields = |value: &Value| {
        let text = value.text();
        let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    let has_counterpart = |name: &str| {
        let mut starts = NO_COUNTERPART.iter().flat_map(|(_, starts)| starts.iter());
        !starts.any(|start| name.starts_with(start))
    };
    let ours = fields(millpond);
    let missing = fields(redis).into_iter().filter(|name| has_counterpart(name) && !ours.contains(name));
    let missing = missing.collect::<Vec<_>>();
    if !missing.is_empty() {
        println!("INFO lacks {missing:?}");
    }
    missing.is_empty()
}

/// Whether all settings that Millpond tells have the values that Redis tells.
pub fn settings_agree(millpond: &Value, redis: &Value) -> bool {
    let pairs = |value: &Value| match value {
        Value::Array(items) => items.chunks(2).map(<[Value]>::to_vec).collect::<BTreeSet<_>>(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect(),
        _ => BTreeSet::new(),
    };
    let (ours, theirs) = (pairs(millpond), pairs(redis));
    std::mem::discriminant(millpond) == std::mem::discriminant(redis) && !ours.is_empty() && ours.is_subset(&theirs)
}

/// Whether all names that Millpond lists are names of Redis.
pub fn is_part_of_list(millpond: &Value, redis: &Value) -> bool {
    let (Value::Array(_) | Value::Set(_), Value::Array(_) | Value::Set(_)) = (millpond, redis) else { return false };
    let names = |value: &Value| value.items().iter().map(Value::text).collect::<BTreeSet<_>>();
    let theirs = names(redis);
    names(millpond).iter().all(|name| theirs.contains(name) || NAMES_SINCE_7_2.contains(&&**name) || is_own(name))
}

/// Whether what COMMAND INFO tells of the commands that both have is the same.
pub fn commands_agree(asked: &Asked, millpond: &Value, redis: &Value) -> bool {
    let (Value::Array(ours), Value::Array(theirs)) = (millpond, redis) else { return false };
    // Asked by name, both answer in that order, with a nil for what is not there.
    let by_name = asked.words.len() > 2;
    if by_name
        && (ours.len() != theirs.len()
            || ours.iter().zip(theirs).any(|(ours, theirs)| ours.is_nil() != theirs.is_nil()))
    {
        return false;
    }
    let entries = |items: &[Value]| {
        let known = items.iter().filter(|item| !item.is_nil());
        known.map(|item| (item.items()[0].text(), item.items().to_vec())).collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (entries(ours), entries(theirs));
    let differing = ours.iter().filter(|(name, ours)| match theirs.get(*name) {
        Some(theirs) => !command_agrees(name, ours, theirs),
        None => !NAMES_SINCE_7_2.contains(&&***name) && !is_own(name),
    });
    let differing = differing.map(|(name, _)| name).collect::<Vec<_>>();
    if !differing.is_empty() {
        println!("COMMAND INFO tells otherwise of {differing:?}");
    }
    differing.is_empty()
}

/// An entry: name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands.
fn command_agrees(name: &str, ours: &[Value], theirs: &[Value]) -> bool {
    let words = |value: &Value| value.items().iter().map(Value::text).collect::<BTreeSet<_>>();
    let left_out = |place: usize| {
        let (ours, theirs) = (words(&ours[place]), words(&theirs[place]));
        ours.is_subset(&theirs).then(|| theirs.difference(&ours).cloned().collect::<Vec<_>>())
    };
    let flags =
        left_out(2).is_some_and(|flags| flags.iter().all(|flag| FLAGS_LEFT_OUT.iter().any(|(known, _)| known == flag)));
    let categories = left_out(6).is_some_and(|names| names.iter().all(|name| CATEGORIES_LEFT_OUT.contains(&&**name)));
    let keys = ours[3..6] == theirs[3..6] || KEYS_TOLD_AS_MOVABLE.contains(&name);
    let arity = ours[1] == theirs[1] || ARITY_SINCE_7_2.contains(&name);
    let subcommands = |entry: &[Value]| {
        entry[9].items().iter().map(|item| (item.items()[0].text(), item.items().to_vec())).collect::<BTreeMap<_, _>>()
    };
    let (our_subcommands, their_subcommands) = (subcommands(ours), subcommands(theirs));
    let subcommands_agree = our_subcommands.iter().all(|(name, ours)| match their_subcommands.get(name) {
        Some(theirs) => command_agrees(name, ours, theirs),
        None => NAMES_SINCE_7_2.contains(&&**name),
    });
    ours.len() == theirs.len() && flags && categories && keys && arity && subcommands_agree
}
