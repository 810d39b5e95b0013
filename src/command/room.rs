//! Which requests may need memory or disk: they wait while the store is behind, and are refused where there is no room.

use bytes::Bytes;

use crate::keyspace::{Disk, Keyspace, Leaving, Side};
use crate::resp::Error;
use crate::session::Session;

use super::argument::{range, strict_integer};
use super::{Command, Context, Flag, Group, find, scripting};

/// What is told to whom would add to keys that fill their share.
pub const FULL_OF_KEYS: Error = Error::constant(
    "OOM command not allowed: keys fill their share of maxmemory. Lists can still be pushed to and popped",
);

/// A longer request adds more than what workers write around a job.
const BOOKKEEPING_BYTES_MAX: usize = 4096;

/// Tells whether a request may need memory or disk, so that it has to wait while the store is behind: EXEC for what is
/// queued, and most scripts, included.
pub fn may_need_room(session: &Session, command: &Command, request: &[Bytes]) -> bool {
    any(session, command, request, needs_room)
}

/// Tells whether a request is known to add to what never leaves memory: EXEC if something that is queued is. Of scripts
/// it is not known before they run; they are refused when they come to it.
pub fn may_fill_keys(session: &Session, command: &Command, request: &[Bytes]) -> bool {
    any(session, command, request, fills_keys)
}

/// Tells whether the disk reserve is for this: pops, deletes and what workers write around their jobs, hand-backs, retries.
/// New jobs and large values are what fills a disk. When even the reserve is nearly used up (`scarce`), only jobs that
/// left a queue lately are taken.
pub fn is_served_from_reserve(keys: &Keyspace, session: &Session, command: &Command, request: &[Bytes]) -> bool {
    if command.name != "exec" {
        return serves(keys, &Leaving::default(), command, request);
    }
    let queue = session.transaction.as_ref().map_or(&[][..], |transaction| &transaction.queue);
    let mut leaving = Leaving::default();
    let queued = || queue.iter().map(|queued| (find(queued).expect("what was queued was found before"), &queued[..]));
    queued().for_each(|(command, request)| add_leaving(keys, command, request, &mut leaving));
    queued().all(|(command, request)| serves(keys, &leaving, command, request))
}

/// Adds the jobs that a queued request will take out.
fn add_leaving(keys: &Keyspace, command: &Command, request: &[Bytes], leaving: &mut Leaving) {
    let number = |at: usize| request.get(at).and_then(|word| strict_integer(word));
    match command.name {
        "lpop" => keys.add_leaving(&request[1], Side::Left, number(2).unwrap_or(1).max(0) as u64, leaving),
        "rpop" => keys.add_leaving(&request[1], Side::Right, number(2).unwrap_or(1).max(0) as u64, leaving),
        "ltrim" => {
            let (Some(start), Some(stop), Some(len)) = (number(2), number(3), keys.length(&request[1])) else { return };
            let kept = range(start, stop, len);
            keys.add_leaving(&request[1], Side::Left, kept.map_or(len, |(first, _)| first), leaving);
            keys.add_leaving(&request[1], Side::Right, kept.map_or(0, |(_, last)| len - 1 - last), leaving);
        }
        "lrem" => leaving.add(&request[3]),
        "zrem" => request[2..].iter().for_each(|member| leaving.add(member)),
        _ => {}
    }
}

/// What is told to whom would add to a disk that is nearly full.
pub fn disk_is_low(reserve_bytes: u64) -> Error {
    Error::new(format!(
        "OOM command not allowed: less than disk-reserve ({reserve_bytes} bytes) is free on the disk. Jobs can still be taken"
    ))
}

fn serves(keys: &Keyspace, leaving: &Leaving, command: &Command, request: &[Bytes]) -> bool {
    // A script is refused when it comes to a call that the reserve is not for.
    if !adds_data(command, request) {
        return true;
    }
    let is_small = request.iter().map(Bytes::len).sum::<usize>() <= BOOKKEEPING_BYTES_MAX;
    match command.name {
        "lpush" | "lpushx" => hands_back(keys, leaving, &request[1], Side::Left, &request[2..]),
        "rpush" | "rpushx" => hands_back(keys, leaving, &request[1], Side::Right, &request[2..]),
        "zadd" => {
            // What is no JSON object is no job, such as the moments of resque-scheduler.
            let is_job = |member: &Bytes| member.starts_with(b"{");
            request[2..].iter().all(|word| !is_job(word) && is_small || has_left(keys, leaving, word))
        }
        "sort" | "copy" => false,
        _ if adds_to_lists(command) => false,
        _ => keys.disk < Disk::Scarce && is_small,
    }
}

/// Tells whether a push gives back what was taken: it is at the end that workers pop from, it is to where failed jobs are
/// kept, or all of its jobs left a list or set lately.
fn hands_back(keys: &Keyspace, leaving: &Leaving, key: &[u8], side: Side, items: &[Bytes]) -> bool {
    let name = key.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    let queue = keys.queues.find(keys.selected(), key).and_then(|id| keys.queues.get(id));
    queue.is_some_and(|queue| queue.popped == Some(side))
        || name == b"failed"
        || name.ends_with(b"_failed")
        || items.iter().all(|item| has_left(keys, leaving, item))
}

fn has_left(keys: &Keyspace, leaving: &Leaving, item: &[u8]) -> bool {
    leaving.has(item) || keys.handbacks.is_one(item, keys.now_ms())
}

/// Refuses a script's call that would add to keys which fill their share, or to a disk that is nearly full. Only before the
/// script's first write, as in Redis: one that has written cannot be taken back.
pub(super) fn check_call(context: &Context, command: &Command, request: &[Bytes]) -> Result<(), Error> {
    let keys = &*context.keys;
    if keys.disk > Disk::Roomy && !serves(keys, &Leaving::default(), command, request) {
        return Err(disk_is_low(context.host.settings().disk_reserve_bytes));
    }
    if keys.memory.is_full_of_keys() && fills_keys(command, request) { Err(FULL_OF_KEYS) } else { Ok(()) }
}

/// Asks of the request, or of what EXEC will run.
fn any(session: &Session, command: &Command, request: &[Bytes], asks: fn(&Command, &[Bytes]) -> bool) -> bool {
    let queue = session.transaction.as_ref().map_or(&[][..], |transaction| &transaction.queue);
    asks(command, request)
        || command.name == "exec"
            && queue.iter().any(|queued| asks(find(queued).expect("what was queued was found before"), queued))
}

fn needs_room(command: &Command, request: &[Bytes]) -> bool {
    adds_data(command, request) || scripting::may_need_room(command, request)
}

/// Lists can leave memory, so they are never to blame when it is full of keys.
fn fills_keys(command: &Command, request: &[Bytes]) -> bool {
    adds_data(command, request) && !adds_to_lists(command)
}

fn adds_to_lists(command: &Command) -> bool {
    command.group == Group::List || command.name == "job.add"
}

fn adds_data(command: &Command, request: &[Bytes]) -> bool {
    command.has(Flag::DenyOom) && !finishes_jobs(command, request)
}

/// What workers do to finish or to save a job goes on when nothing else does: taking a job into a working list, and
/// putting one into the set of those to be tried again. The disk reserve is there for it.
fn finishes_jobs(command: &Command, request: &[Bytes]) -> bool {
    match command.name {
        "lmove" | "blmove" | "rpoplpush" | "brpoplpush" => true,
        "zadd" => {
            request[1].rsplit(|byte| *byte == b':').next().is_some_and(|name| name == b"retry" || name == b"dead")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::{Reply, split_words};

    use super::*;

    /// Tells whether a line may need room, and whether it may fill keys.
    fn needs(bench: &Bench, line: &str) -> (bool, bool) {
        let request = split_words(line.as_bytes()).expect("the line's quotes are balanced");
        let command = find(&request).expect("it is a command");
        (may_need_room(&bench.session, command, &request), may_fill_keys(&bench.session, command, &request))
    }

    #[test]
    fn taking_and_finishing_jobs_needs_no_room() {
        let bench = Bench::default();
        for line in
            ["LPOP q", "LMOVE q working LEFT RIGHT", "ZADD app:retry 1 job", "DEL q", "LREM working 1 job", "GET k"]
        {
            assert_eq!(needs(&bench, line), (false, false), "{line}");
        }
        for line in ["SET k v", "HSET h f v", "ZADD schedule 1 job", "SADD queues q"] {
            assert_eq!(needs(&bench, line), (true, true), "{line}");
        }
        assert_eq!(needs(&bench, "RPUSH q job"), (true, false), "a list can leave memory");
    }

    #[test]
    fn exec_needs_what_is_queued_needs() {
        let mut bench = Bench::default();
        for (queued, expected) in [
            ("LPOP q", (false, false)),
            ("RPUSH q job", (true, false)),
            ("EVAL \"return 1\" 0", (true, false)),
            ("SADD queues q", (true, true)),
        ] {
            if bench.session.transaction.is_none() {
                bench.send("MULTI");
            }
            bench.send(queued);
            assert_eq!(needs(&bench, "EXEC"), expected, "{queued}");
        }
    }

    #[test]
    fn where_keys_fill_their_share_a_script_is_refused_as_by_redis_before_its_first_write_and_never_after_it() {
        let mut bench = Bench::default();
        bench.run("SET held me");
        bench.keys.memory.budget.objects_bytes = 0;
        assert!(bench.keys.memory.is_full_of_keys());
        let check = |bench: &mut Bench, line: &str, expected: &str| {
            let told = bench.resp2(line);
            assert!(told.starts_with(expected), "{line}: {told}");
        };
        check(&mut bench, "EVAL \"return redis.call('rpush', 'q', 'a')\" 0", ":1\r\n");
        check(&mut bench, "EVAL \"return redis.call('set', 'k', 'v')\" 0", "-OOM command not allowed");
        check(
            &mut bench,
            "EVAL \"return redis.call('lpop', 'q') .. redis.call('set', 'k', 'v').ok\" 0",
            "$3\r\naOK\r\n",
        );
        let allowed = "EVAL \"#!lua flags=allow-oom\\nreturn redis.call('set', 'k', 'v')\" 0";
        check(&mut bench, allowed, "+OK\r\n");

        // A transaction's earlier writes are not the script's.
        bench.send("MULTI");
        bench.send("RPUSH q b");
        bench.send("EVAL \"return redis.pcall('set', 'other', 'v')\" 0");
        let Reply::Array(replies) = bench.send("EXEC") else { panic!("EXEC has run") };
        assert!(matches!(&replies[..], [Reply::Integer(1), Reply::Error(error)] if error.line().starts_with("OOM ")));
    }
}
