//! The same connection twice: once to Millpond, once to Redis.

use super::compare::difference;
use super::generator::{How, PickKind, Plan, Step};
use crate::harness::{Client, Protocol, Server, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

/// A cursor that does not come to an end within so many steps never will.
const SCAN_STEPS_MAX: usize = 10_000;

/// One client on each server, in the same state.
pub struct Pair {
    millpond: Client,
    redis: Client,
    pub database: usize,
    pub protocol: Protocol,
}

/// What has been sent so far, for the share of errors and for the list of commands met.
#[derive(Default)]
pub struct Tally {
    pub commands: u64,
    pub nil_or_error: u64,
    pub by_name: BTreeMap<String, u64>,
    /// The last lines sent, for a failure's message.
    pub recent: std::collections::VecDeque<String>,
}

/// Why a step failed: what was sent and what came.
pub type Outcome = Result<(), String>;

impl Pair {
    pub fn connect(millpond: &Server, redis: &Server, protocol: Protocol) -> Pair {
        let connect = |server: &Server| {
            Client::connect_checked(server.port(), protocol)
                .unwrap_or_else(|error| panic!("no connection to {:?}: {error}", server.program()))
        };
        Pair { millpond: connect(millpond), redis: connect(redis), database: 0, protocol }
    }

    /// Runs one plan on both servers. `other` is the connection that disturbs a WATCH.
    pub fn run(&mut self, plan: &Plan, other: &mut Pair, tally: &mut Tally) -> Outcome {
        match plan {
            Plan::One(step) => self.step(step, tally).map(drop),
            Plan::Select(database) => self.select(*database, tally),
            Plan::Transaction { .. } => self.transaction(plan, other, tally),
            Plan::Pick { words, kind, key } => self.pick(words, *kind, key, tally),
            Plan::Scan { before, after, pairs } => self.scan(before, after, *pairs, tally),
            Plan::ShortExpiry { words, then } => {
                self.step(&Step { words: words.clone(), how: How::Exact }, tally)?;
                // Longer than the key lives, so that it is gone on both servers before anything else looks at it.
                thread::sleep(Duration::from_millis(60));
                then.iter().try_for_each(|step| self.step(step, tally).map(drop))
            }
        }
    }

    /// Sends the same words to both.
    pub fn both<A: AsRef<[u8]>>(&mut self, words: &[A]) -> (Value, Value) {
        self.redis.send(words).expect("redis takes a command");
        let ours = self.millpond.ask(words).unwrap_or_else(|error| {
            let words = words.iter().map(|word| word.as_ref().escape_ascii().to_string()).collect::<Vec<_>>();
            panic!("millpond: {error} after {}", words.join(" "))
        });
        (ours, self.redis.reply().expect("redis answers"))
    }

    /// Does the same with both clients, Millpond's first.
    pub fn each<T>(&mut self, mut work: impl FnMut(&mut Client) -> T) -> [T; 2] {
        [work(&mut self.millpond), work(&mut self.redis)]
    }

    /// Compares all that is stored in the selected databases, key by key.
    pub fn compare_everything(&mut self) -> Outcome {
        for database in 0..2 {
            self.both(&["SELECT", &database.to_string()]);
            let (ours, theirs) = self.both(&["KEYS", "*"]);
            let names = |value: &Value| value.items().iter().map(|key| key.bytes().to_vec()).collect::<BTreeSet<_>>();
            let (ours, theirs) = (names(&ours), names(&theirs));
            if ours != theirs {
                let show = |names: Vec<&Vec<u8>>| {
                    names.iter().map(|name| name.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
                };
                return Err(format!(
                    "database {database}: only in millpond: {}; only in redis: {}",
                    show(ours.difference(&theirs).collect()),
                    show(theirs.difference(&ours).collect())
                ));
            }
            for key in ours {
                self.compare_key(&key).map_err(|why| format!("database {database}, whole state: {why}"))?;
            }
        }
        self.both(&["SELECT", &self.database.to_string()]);
        Ok(())
    }

    fn compare_key(&mut self, key: &[u8]) -> Outcome {
        let mut check = |words: &[&[u8]], how: How| {
            let (ours, theirs) = self.both(words);
            let words = words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
            match difference(&words, &how, &ours, &theirs) {
                None => Ok(theirs),
                Some(found) => Err(format!("{}\n{found}", show(&words))),
            }
        };
        let kind = check(&[b"TYPE", key], How::Exact)?.text();
        check(&[b"PEXPIRETIME", key], How::Time(3000))?;
        match &*kind {
            "string" => check(&[b"GET", key], How::Exact),
            "list" => check(&[b"LRANGE", key, b"0", b"-1"], How::Exact),
            "hash" => check(&[b"HGETALL", key], How::Pairs),
            "set" => check(&[b"SMEMBERS", key], How::Unordered),
            "zset" => check(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], How::Exact),
            // A key may end between the two questions.
            _ => check(&[b"EXISTS", key], How::Exact),
        }
        .map(drop)
    }

    fn step(&mut self, step: &Step, tally: &mut Tally) -> Result<Value, String> {
        tally.note(self, &step.words);
        let (ours, theirs) = self.both(&step.words);
        tally.count(&theirs);
        match difference(&step.words, &step.how, &ours, &theirs) {
            None => Ok(theirs),
            Some(found) => Err(format!("{}\n{found}", show(&step.words))),
        }
    }

    fn select(&mut self, database: usize, tally: &mut Tally) -> Outcome {
        let words = vec![b"SELECT".to_vec(), database.to_string().into_bytes()];
        self.step(&Step { words, how: How::Exact }, tally)?;
        self.database = database;
        Ok(())
    }

    fn transaction(&mut self, plan: &Plan, other: &mut Pair, tally: &mut Tally) -> Outcome {
        let Plan::Transaction { watch, disturbance, unwatch, steps, discard } = plan else { return Ok(()) };
        let plain = |words: &[&[u8]]| Step { words: words.iter().map(|word| word.to_vec()).collect(), how: How::Exact };
        if let Some(key) = watch {
            self.step(&plain(&[b"WATCH", key]), tally)?;
        }
        if let Some(step) = disturbance {
            other.step(step, tally)?;
        }
        if *unwatch {
            self.step(&plain(&[b"UNWATCH"]), tally)?;
        }
        self.step(&plain(&[b"MULTI"]), tally)?;
        let mut queued = Vec::new();
        for step in steps {
            tally.note(self, &step.words);
            let (ours, theirs) = self.both(&step.words);
            if let Some(found) = difference(&step.words, &How::Exact, &ours, &theirs) {
                return Err(format!("in MULTI: {}\n{found}", show(&step.words)));
            }
            if theirs == Value::Simple("QUEUED".into()) {
                queued.push(step.clone());
            }
        }
        if *discard {
            return self.step(&plain(&[b"DISCARD"]), tally).map(drop);
        }
        let transaction = steps.iter().map(|step| show(&step.words)).collect::<Vec<_>>().join("\n  ");
        tally.note(self, &[b"EXEC".to_vec()]);
        let (ours, theirs) = self.both(&["EXEC"]);
        match &theirs {
            Value::Array(replies) => replies.iter().for_each(|reply| tally.count_queued(reply)),
            reply => tally.count(reply),
        }
        match difference(&[b"EXEC".to_vec()], &How::Each(queued), &ours, &theirs) {
            None => Ok(()),
            Some(found) => Err(format!("MULTI\n  {transaction}\nEXEC\n{found}")),
        }
    }

    /// Checks that both picked from what is there, then makes Millpond's data what Redis' is.
    fn pick(&mut self, words: &[Vec<u8>], kind: PickKind, key: &[u8], tally: &mut Tally) -> Outcome {
        let whole: &[&[u8]] = match kind {
            PickKind::Pop | PickKind::SetMember => &[b"SMEMBERS", key],
            PickKind::Field => &[b"HKEYS", key],
            PickKind::SortedMember => &[b"ZRANGE", key, b"0", b"-1"],
            PickKind::Key => &[b"KEYS", b"*"],
        };
        let (_, whole) = self.both(whole);
        tally.note(self, words);
        let (ours, theirs) = self.both(words);
        tally.count(&theirs);
        let fail =
            |why: &str| Err(format!("{}: {why}\nmillpond {ours:?}\n   redis {theirs:?}\nof {whole:?}", show(words)));
        let (Some(our_picks), Some(their_picks)) = (picks(&ours), picks(&theirs)) else {
            return if ours == theirs { Ok(()) } else { fail("not equal") };
        };
        let (Value::Array(_) | Value::Set(_)) = &whole else { return fail("picked from what is no collection") };
        let members = whole.items().iter().map(|member| member.bytes().to_vec()).collect::<BTreeSet<_>>();
        if std::mem::discriminant(&ours) != std::mem::discriminant(&theirs) || our_picks.len() != their_picks.len() {
            return fail("another shape");
        }
        if !our_picks.iter().all(|pick| members.contains(pick)) {
            return fail("picked what is not there");
        }
        let repeats = |picks: &[Vec<u8>]| picks.iter().collect::<BTreeSet<_>>().len() < picks.len();
        if repeats(&our_picks) && words.get(2).is_none_or(|count| !count.starts_with(b"-")) {
            return fail("the same twice");
        }
        if kind == PickKind::Pop {
            for member in our_picks.iter().filter(|member| !their_picks.contains(member)) {
                self.millpond.must(&[b"SADD", key, member]);
            }
            for member in their_picks.iter().filter(|member| !our_picks.contains(member)) {
                self.millpond.must(&[b"SREM", key, member]);
            }
        }
        Ok(())
    }

    fn scan(&mut self, before: &[Vec<u8>], after: &[Vec<u8>], pairs: bool, tally: &mut Tally) -> Outcome {
        tally.note(self, before);
        let ours = iterate(&mut self.millpond, before, after, pairs);
        let theirs = iterate(&mut self.redis, before, after, pairs);
        let first = theirs.as_ref().err().cloned().unwrap_or(Value::Integer(1));
        tally.count(&first);
        let same = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                let as_array = |found: &BTreeSet<Vec<Value>>| Value::Array(found.iter().flatten().cloned().collect());
                difference(before, &How::Pairs, &as_array(ours), &as_array(theirs)).is_none()
            }
            (Err(ours), Err(theirs)) => ours == theirs,
            _ => false,
        };
        if same { Ok(()) } else { Err(format!("{}\nmillpond {ours:?}\n   redis {theirs:?}", show(before))) }
    }
}

impl Tally {
    fn note(&mut self, pair: &Pair, words: &[Vec<u8>]) {
        let command = String::from_utf8_lossy(&words[0]).to_uppercase();
        *self.by_name.entry(command).or_default() += 1;
        self.recent.push_back(format!("[{:?} db{}] {}", pair.protocol, pair.database, show(words)));
        if self.recent.len() > 25 {
            self.recent.pop_front();
        }
    }

    fn count(&mut self, reply: &Value) {
        self.commands += 1;
        self.nil_or_error += u64::from(reply.is_nil() || reply.is_error());
    }

    /// A reply inside EXEC's: its command was counted as sent when it was queued.
    fn count_queued(&mut self, reply: &Value) {
        self.count(reply);
    }
}

/// Iterates to the end; gives what was found, or the error that came instead.
pub fn iterate(
    client: &mut Client,
    before: &[Vec<u8>],
    after: &[Vec<u8>],
    pairs: bool,
) -> Result<BTreeSet<Vec<Value>>, Value> {
    let mut found = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    for _ in 0..SCAN_STEPS_MAX {
        let words = [before, &[cursor], after].concat();
        let reply = client.must(&words);
        if reply.is_error() {
            return Err(reply);
        }
        let [next, elements] = reply.items() else { panic!("a cursor and elements, got {reply:?}") };
        assert!(matches!(next, Value::Bulk(_)), "a cursor is a bulk string, got {next:?}");
        found.extend(elements.items().chunks(if pairs { 2 } else { 1 }).map(<[Value]>::to_vec));
        cursor = next.bytes().to_vec();
        if cursor == b"0" {
            return Ok(found);
        }
    }
    panic!("{} did not end in {SCAN_STEPS_MAX} steps", show(before));
}

/// The members that a reply names, or None for a nil or an error.
fn picks(reply: &Value) -> Option<Vec<Vec<u8>>> {
    match reply {
        Value::Array(items) | Value::Set(items) => Some(items.iter().map(|item| item.bytes().to_vec()).collect()),
        Value::Bulk(member) => Some(vec![member.clone()]),
        _ => None,
    }
}

fn show(words: &[Vec<u8>]) -> String {
    words
        .iter()
        .map(|word| {
            let shown = word[..word.len().min(60)].escape_ascii().to_string();
            if word.len() > 60 { format!("{shown}…({})", word.len()) } else { shown }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
