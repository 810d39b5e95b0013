//! The scripts that nearly every installation runs all day, done without Lua: the same commands in the same order.
//!
//! Each is known by the SHA1 of its text, and only where a client has loaded that text. What does not go well is left to
//! Lua, which has written nothing by then and whose errors name the line.

use bytes::Bytes;

use crate::resp::Reply;

use super::{Context, Flag, Outcome, Stop, Within, by_name, room};

/// One of them.
pub struct Stock {
    sha: &'static str,
    run: fn(&mut Context, &Bytes, &[Bytes]) -> Outcome,
    /// How many ARGV it looks at.
    arguments: usize,
    /// It needs neither memory nor disk.
    pub only_removes: bool,
}

const STOCK: &[Stock] = &[
    // Sidekiq 7.1 and later: takes the job of a schedule that is due.
    Stock {
        sha: "000a4c2f82df69db1780053377a2c9b0741570e0",
        run: |context, key, arguments| {
            take_due(context, "zrange", key, &[b"-inf", &arguments[0], b"byscore", b"limit", b"0", b"1"])
        },
        arguments: 1,
        only_removes: true,
    },
    // Sidekiq up to 7.0: the same.
    Stock {
        sha: "f4a8a5467f9f4697a26fdfb839476b9ee52e897c",
        run: |context, key, arguments| {
            take_due(context, "zrangebyscore", key, &[b"-inf", &arguments[0], b"limit", b"0", b"1"])
        },
        arguments: 1,
        only_removes: true,
    },
    // Redlock: gives a lock back, takes or prolongs one, tells whose it is and for how long.
    Stock { sha: "8e4905cee18e7c3188d10f2b8b170e403baed34f", run: unlock, arguments: 1, only_removes: true },
    Stock { sha: "ceb2b2062e40c51a2b3963fd078bc71f11bdc65c", run: lock, arguments: 3, only_removes: false },
    Stock { sha: "78d2ca48a6dc9ef6892059792a3a0c5237733d64", run: owner_and_time, arguments: 0, only_removes: true },
];

/// Finds a stock script by its SHA1, in any letter case.
pub fn find(sha: &[u8]) -> Option<&'static Stock> {
    STOCK.iter().find(|stock| stock.sha.as_bytes().eq_ignore_ascii_case(sha))
}

/// Runs a script that was loaded, if it is one of these and goes well.
pub fn run(context: &mut Context, sha: &str, keys: &[Bytes], arguments: &[Bytes]) -> Option<Outcome> {
    let stock = find(sha.as_bytes())?;
    let key = keys.first().filter(|_| arguments.len() >= stock.arguments)?;
    let within = std::mem::replace(&mut context.within, Within::Script);
    let outcome = (stock.run)(context, key, arguments);
    context.within = within;
    (!matches!(outcome, Err(Stop::Error(_)))).then_some(outcome)
}

fn take_due(context: &mut Context, range: &'static str, key: &Bytes, words: &[&[u8]]) -> Outcome {
    let Reply::Array(due) = call(context, range, key, words)? else { return Ok(Reply::Null) };
    let Some(Reply::Bulk(job)) = due.into_iter().next() else { return Ok(Reply::Null) };
    call(context, "zrem", key, &[&job])?;
    Ok(Reply::Bulk(job))
}

fn unlock(context: &mut Context, key: &Bytes, arguments: &[Bytes]) -> Outcome {
    if is_owner(context, key, &arguments[0])? { call(context, "del", key, &[]) } else { Ok(Reply::Integer(0)) }
}

fn lock(context: &mut Context, key: &Bytes, arguments: &[Bytes]) -> Outcome {
    let is_free = call(context, "exists", key, &[])? == Reply::Integer(0);
    if is_free && arguments[2] == "yes" || is_owner(context, key, &arguments[0])? {
        return call(context, "set", key, &[&arguments[0], b"PX", &arguments[1]]);
    }
    Ok(Reply::Null)
}

fn owner_and_time(context: &mut Context, key: &Bytes, _arguments: &[Bytes]) -> Outcome {
    Ok(Reply::Array(vec![call(context, "get", key, &[])?, call(context, "pttl", key, &[])?]))
}

fn is_owner(context: &mut Context, key: &Bytes, owner: &Bytes) -> Result<bool, Stop> {
    Ok(call(context, "get", key, &[])? == Reply::Bulk(owner.clone()))
}

/// Runs a command of the script.
fn call(context: &mut Context, name: &'static str, key: &Bytes, words: &[&[u8]]) -> Outcome {
    let command = by_name(name.as_bytes()).expect("the stock scripts call commands that exist");
    let mut request = Vec::with_capacity(2 + words.len());
    request.push(Bytes::from_static(name.as_bytes()));
    request.push(key.clone());
    request.extend(words.iter().map(|word| Bytes::copy_from_slice(word)));
    room::check_call(context, command, &request)?;
    context.keys.counts.count_look_ups(command.has(Flag::ReadOnly));
    (command.run)(context, &request)
}

#[cfg(test)]
mod tests;
