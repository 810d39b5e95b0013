//! One turn: take what is ready, run it, append the effects, let the replies go.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, error};

use crate::clock::Now;
use crate::command::{
    self, Command, Context, Flag, Host, Outcome, Stop, Wait, Walk, Within, check_protected, connection,
    drop_transaction, find, is_immediate, may_need_room, queue_in_transaction,
};
use crate::keyspace::recovery::Fetched;
use crate::keyspace::{Kind, Missing};
use crate::log::LogError;
use crate::resp::{Error, Reply};
use crate::session::{ClientId, ReplyMode, Session};
use crate::settings::AppendFsync;

use super::background::{Done, Load};
use super::client::{Client, Fetching, Parked, Request, State, Walking, error_of};
use super::house::row_of;
use super::sweeper::STEP_TOKEN;
use super::{Input, Outgoing, Shard, Sockets, Turned};

/// Requests that one client runs before the next one has its turn.
const REQUESTS_A_VISIT: usize = 32;
/// Keys that one turn deletes because their time has come; commands that meet one delete it themselves.
const EXPIRIES_A_TURN: usize = 64;
/// Steps in which one turn takes dead values apart.
const SWEEPS_A_TURN: usize = 4;
/// Bytes that one walk reads in a turn.
const WALK_BYTES_A_TURN: usize = 256 * 1024;
/// Chunks that a walk has on their way.
const WALK_CHUNKS_AHEAD: usize = 8;
/// How soon a log that found no room on the disk is tried again.
const STUCK_PAUSE: Duration = Duration::from_millis(100);

impl Shard {
    /// Runs what is ready, appends its effects to the log, and puts what may leave now into `outgoing`.
    pub fn turn(
        &mut self,
        now: Now,
        inputs: &mut VecDeque<Input>,
        sockets: &dyn Sockets,
        outgoing: &mut Vec<Outgoing>,
    ) -> Turned {
        self.house.metrics.turns.count();
        self.now = now;
        self.keys.begin_turn(now.wall_ms());
        self.look_at_disk();
        self.take_in(now, inputs);
        if self.stuck && !self.append() {
            return Turned { wake_at: Some(now.mono + STUCK_PAUSE), exit: self.exit, ..Turned::default() };
        }
        self.hear_threads(now, sockets);
        self.end_overdue(now, sockets);
        self.expire(now, sockets);
        self.run_held(now, sockets);
        let more = self.run_ready(now, sockets);
        let walking = self.step_walks(now, sockets);
        let going_on = self.sweep_on(now, sockets);
        let mut sweeping = false;
        for _ in 0..SWEEPS_A_TURN {
            sweeping = self.keys.sweep();
            if !sweeping {
                break;
            }
        }
        let appended = self.append();
        if self.house.stopping && appended {
            self.stop();
        }
        self.let_go();
        self.checkpoint(now);
        if appended {
            self.release(outgoing);
        }
        self.measure(now);
        Turned { wake_at: self.wake_at(now), more: more || walking || sweeping || going_on, exit: self.exit }
    }

    // ---- what came in -------------------------------------------------------------------------------------------

    fn take_in(&mut self, now: Now, inputs: &mut VecDeque<Input>) {
        for input in inputs.drain(..) {
            match input {
                Input::Connected { client, peer } => {
                    let mut session = Session::new(client, peer, now.mono);
                    session.authenticated = self.house.settings.requirepass.is_none();
                    self.house.clients.insert(client, Client::new(session));
                    self.house.metrics.connections_received.count();
                    self.house.touch(client);
                }
                Input::Requests { client: id, requests } => {
                    if let Some(client) = self.house.clients.get_mut(&id) {
                        client.pending.extend(requests);
                        self.house.touch(id);
                        self.house.enqueue(id);
                    }
                }
                Input::Malformed { client: id, error } => {
                    if let Some(client) = self.house.clients.get_mut(&id) {
                        client.malformed = Some(error);
                        self.house.touch(id);
                        self.house.enqueue(id);
                    }
                }
                Input::Ended { client: id } => {
                    if let Some(client) = self.house.clients.get_mut(&id) {
                        client.ended = true;
                        self.house.touch(id);
                        self.house.enqueue(id);
                    }
                }
                Input::Closed { client } => self.forget(client),
                Input::Terminate => self.house.stopping = true,
            }
        }
    }

    /// Drops a client and all that waits for it.
    pub(super) fn forget(&mut self, id: ClientId) {
        let Some(client) = self.house.clients.remove(&id) else { return };
        let parked = match client.state {
            State::Parked(Parked { wait, place, database, .. }) => Some((wait, place, database)),
            State::Fetching(fetching) => fetching.parked,
            _ => None,
        };
        if let Some((wait, place, database)) = parked {
            self.house.waiters.leave(id, place, database, &wait.keys, wait.until);
        }
        self.house.walking.remove(&id);
        self.house.held.remove(&id);
        self.house.gated.remove(&id);
        if let Some(session) = client.session {
            self.keys.unwatch(id, &session.watching);
            for channel in &session.channels {
                self.house.pubsub.listen(id, channel, false, false);
            }
            for pattern in &session.patterns {
                self.house.pubsub.listen(id, pattern, true, false);
            }
        }
    }

    // ---- running ------------------------------------------------------------------------------------------------

    /// Runs requests of ready clients, a few of each in turn; tells whether some are left.
    fn run_ready(&mut self, now: Now, sockets: &dyn Sockets) -> bool {
        let limits = &self.house.settings.limits;
        let (mut requests, mut bytes) = (limits.turn_requests_max, limits.turn_bytes_max);
        while let Some(id) = self.house.queue.pop_front() {
            for _ in 0..REQUESTS_A_VISIT {
                let Some(client) = self.house.clients.get_mut(&id).filter(|client| client.is_ready()) else { break };
                if client.is_closing() {
                    client.drop_requests();
                    break;
                }
                let Some(request) = client.pending.pop_front() else { break };
                let size: usize = request.iter().map(Bytes::len).sum();
                self.run_request(now, id, request, None, sockets);
                requests = requests.saturating_sub(1);
                bytes = bytes.saturating_sub(size);
                if requests == 0 || bytes == 0 || self.house.stopping {
                    break;
                }
            }
            let Some(client) = self.house.clients.get_mut(&id) else { continue };
            client.queued = false;
            if client.is_ready() && !client.pending.is_empty() {
                self.house.enqueue(id);
            }
            if requests == 0 || bytes == 0 || self.house.stopping {
                break;
            }
        }
        !self.house.queue.is_empty()
    }

    /// Runs one request that a client sent. One that had to wait for the store says until when it would.
    pub(super) fn run_request(
        &mut self,
        now: Now,
        id: ClientId,
        request: Request,
        held_until: Option<Duration>,
        sockets: &dyn Sockets,
    ) {
        let Some(mut session) = self.house.clients.get_mut(&id).and_then(|client| client.session.take()) else {
            return;
        };
        session.last_command_at = now.mono;
        self.requests_run += 1;
        self.run_for(now, &mut session, request, held_until);
        self.give_back(id, session);
        self.serve_waiters(now, sockets);
    }

    fn give_back(&mut self, id: ClientId, mut session: Box<Session>) {
        let Some(client) = self.house.clients.get_mut(&id) else { return };
        // Not while its request waits for something: the reply is still to come.
        if client.is_ready() {
            session.reply_mode = match session.reply_mode {
                ReplyMode::SkipNext => ReplyMode::Skip,
                ReplyMode::Skip => ReplyMode::On,
                other => other,
            };
        }
        client.session = Some(session);
    }

    /// Checks a request and runs it, or queues it in a transaction; deals with what comes of it.
    fn run_for(&mut self, now: Now, session: &mut Session, request: Request, held_until: Option<Duration>) {
        let command = match self.admit(session, &request) {
            Ok(command) => command,
            Err(reply) => {
                if let Some(reply) = reply {
                    self.answer(session, &reply, self.house.last_lsn);
                }
                return;
            }
        };
        if may_need_room(session, command, &request) && !self.has_room_for(now, session, command, &request, held_until)
        {
            return;
        }
        session.last_command = command.name;
        let (outcome, gate) = self.run(now, session, command, &request, session.database);
        self.settle(now, session, request, outcome, gate, None);
    }

    /// Finds the command of a request and says whether this client may run it now; otherwise what it is answered.
    fn admit(&mut self, session: &mut Session, request: &Request) -> Result<&'static Command, Option<Reply>> {
        let found = find(request).and_then(|command| {
            check_protected(&self.house.settings, session, command)?;
            Ok(command)
        });
        if !connection::is_admitted(&self.house.settings, session)
            && !found.as_ref().is_ok_and(|command| command.has(Flag::NoAuth))
        {
            return Err(Some(Error::constant("NOAUTH Authentication required.").into()));
        }
        if session.is_subscriber()
            && let Ok(command) = &found
            && !matches!(
                command.name,
                "subscribe" | "psubscribe" | "unsubscribe" | "punsubscribe" | "ping" | "quit" | "reset"
            )
        {
            return Err(Some(
                Error::new(format!(
                    "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                    command.name
                ))
                .into(),
            ));
        }
        if session.transaction.is_some() && !found.as_ref().is_ok_and(|command| is_immediate(command)) {
            return Err(Some(queue_in_transaction(session, request, found)));
        }
        found.map_err(|error| Some(error.into()))
    }

    /// Runs a command as one frame; answers also the frame that must be durable before its reply leaves.
    fn run(
        &mut self,
        now: Now,
        session: &mut Session,
        command: &Command,
        request: &[Bytes],
        database: usize,
    ) -> (Outcome, u64) {
        self.keys.begin(self.house.buffer.next_lsn(), database);
        self.keys.note_growth = self.house.waiters.len() > 0;
        if self.keys.sightings.active {
            self.keys.sightings.host = session.peer.host().to_owned();
        }
        self.house.metrics.commands_processed.count();
        self.keys.counts.count_look_ups(command.has(Flag::ReadOnly));
        let mut context = Context {
            now,
            keys: &mut self.keys,
            jobs: &mut self.jobs,
            session,
            host: &mut self.house,
            random: &mut self.random,
            within: Within::Nothing,
        };
        let outcome = (command.run)(&mut context, request);
        self.keys.counts.count_look_ups(false);
        let (found, not_found) = self.keys.counts.take_look_ups();
        // What runs again looks again.
        if !matches!(outcome, Err(Stop::Fetch(_) | Stop::Wait(_))) {
            self.house.metrics.keyspace_hits.add_alone(found);
            self.house.metrics.keyspace_misses.add_alone(not_found);
        }
        if std::mem::take(&mut self.house.reconfigured) {
            self.adopt_settings();
        }
        let gate = if self.finish_frame() { self.house.last_lsn } else { self.keys.read_lsn() };
        (outcome, gate.min(self.house.last_lsn))
    }

    /// Gives the effects of the command that has just run to the log. Also of one that has to be run again: keys that it
    /// met and whose time had come are deleted.
    pub(super) fn finish_frame(&mut self) -> bool {
        if !self.keys.sightings.is_empty() {
            self.see_workers();
        }
        let frame = self.keys.frame();
        if frame.is_empty() {
            return false;
        }
        let buffer = &mut self.house.buffer;
        buffer.start();
        buffer.ops().extend_from_slice(frame);
        self.house.last_lsn = buffer.finish();
        frame.clear();
        self.house.metrics.log_frames.count();
        true
    }

    /// Answers, or lets the client wait for what it needs.
    fn settle(
        &mut self,
        now: Now,
        session: &mut Session,
        request: Request,
        outcome: Outcome,
        gate: u64,
        again: Option<(Wait, u64, usize)>,
    ) {
        let stop = match outcome {
            Ok(reply) => return self.done(session, &reply, gate, again),
            Err(stop) => stop,
        };
        if let Some(error) = error_of(&stop) {
            return self.done(session, &error.into(), gate, again);
        }
        match stop {
            Stop::Wait(wait) => self.park(session, request, wait, again),
            Stop::Fetch(missing) => self.fetch(session, request, missing, Vec::new(), again),
            Stop::Walk(walk) => {
                self.leave(session, again);
                self.walk(session, walk);
            }
            other => error!(?other, "a command ended in a way that only EXEC and scripts may"),
        }
        let _ = now;
    }

    fn done(&mut self, session: &mut Session, reply: &Reply, gate: u64, again: Option<(Wait, u64, usize)>) {
        self.leave(session, again);
        self.answer(session, reply, gate);
    }

    pub(super) fn answer(&mut self, session: &Session, reply: &Reply, gate: u64) {
        if !matches!(session.reply_mode, ReplyMode::Off | ReplyMode::Skip) && *reply != Reply::Silent {
            self.house.answer(session, reply, gate);
        }
    }

    // ---- waiting ------------------------------------------------------------------------------------------------

    fn park(&mut self, session: &mut Session, request: Request, wait: Wait, again: Option<(Wait, u64, usize)>) {
        let (wait, place, database) = again.unwrap_or_else(|| {
            let place = self.house.waiters.park(session.id, session.database, &wait.keys, wait.until);
            (wait, place, session.database)
        });
        session.blocked = true;
        if let Some(client) = self.house.clients.get_mut(&session.id) {
            client.state = State::Parked(Parked { request, wait, place, database });
        }
    }

    /// A client that was parked no longer is.
    fn leave(&mut self, session: &mut Session, again: Option<(Wait, u64, usize)>) {
        session.blocked = false;
        if let Some((wait, place, database)) = again {
            self.house.waiters.leave(session.id, place, database, &wait.keys, wait.until);
            self.house.enqueue(session.id);
            self.house.touch(session.id);
        }
    }

    /// Runs the commands of those again who wait for a key that grew: oldest first, after every command, so that nobody
    /// behind them in the same batch takes what is theirs.
    pub(super) fn serve_waiters(&mut self, now: Now, sockets: &dyn Sockets) {
        if self.jobs.limits.has_untold() {
            self.tell_opened();
        }
        while self.keys.has_grown() {
            for grown in self.keys.take_grown() {
                let key = Bytes::copy_from_slice(&grown.key);
                let mut behind = None;
                while let Some((place, id)) = self.house.waiters.next_on(grown.database, &key, behind) {
                    behind = Some(place);
                    // It may be gone again, at the end of a transaction or since an older waiter took it.
                    let Some(kind) = self.kind_of(grown.database, &key) else { break };
                    if !self.house.clients.get(&id).is_some_and(|client| client.waits_for(kind)) {
                        continue;
                    }
                    if sockets.hung_up(id) {
                        debug!(client = id, "a blocked client had hung up");
                        self.house.kill(id);
                        continue;
                    }
                    self.run_parked(now, id);
                }
            }
        }
    }

    /// Lets those look again who wait for queues for which gates have opened.
    #[cold]
    fn tell_opened(&mut self) {
        for id in self.jobs.limits.take_untold() {
            if let Some(queue) = self.keys.queues.get(id) {
                let (database, key) = (queue.database, queue.key.clone());
                self.keys.note_growth = self.house.waiters.len() > 0;
                self.keys.note_eligible(database, &key);
            }
        }
    }

    fn kind_of(&mut self, database: usize, key: &[u8]) -> Option<Kind> {
        self.keys.begin(self.house.buffer.next_lsn(), database);
        let kind = self.keys.find(key).map(|slot| self.keys.object(slot).value.kind());
        self.finish_frame();
        kind
    }

    /// Runs a parked client's command again.
    fn run_parked(&mut self, now: Now, id: ClientId) {
        let Some(client) = self.house.clients.get_mut(&id) else { return };
        if !matches!(client.state, State::Parked(_)) {
            return;
        }
        let State::Parked(parked) = std::mem::replace(&mut client.state, State::Ready) else { return };
        let Some(mut session) = client.session.take() else { return };
        self.house.metrics.reruns.count();
        let command = find(&parked.request).expect("what was parked was found before");
        let (outcome, gate) = self.run(now, &mut session, command, &parked.request, parked.database);
        let again = Some((parked.wait, parked.place, parked.database));
        self.settle(now, &mut session, parked.request, outcome, gate, again);
        self.give_back(id, session);
    }

    /// Ends the waiting of those whose time is over.
    fn end_overdue(&mut self, now: Now, sockets: &dyn Sockets) {
        while let Some(id) = self.house.waiters.overdue(now.mono) {
            let Some(client) = self.house.clients.get_mut(&id) else { return };
            match std::mem::replace(&mut client.state, State::Ready) {
                State::Parked(parked) => {
                    let Some(mut session) = client.session.take() else { return };
                    let reply = parked.wait.timed_out.clone();
                    self.done(&mut session, &reply, 0, Some((parked.wait, parked.place, parked.database)));
                    self.give_back(id, session);
                }
                State::Fetching(mut fetching) => {
                    // What it waited for is there, only not in memory yet: it gets it, and then no longer has a deadline.
                    if let Some((wait, place, database)) = fetching.parked.take() {
                        self.house.waiters.leave(id, place, database, &wait.keys, wait.until);
                        let wait = Wait { until: None, ..wait };
                        let place = self.house.waiters.park(id, database, &wait.keys, None);
                        fetching.parked = Some((wait, place, database));
                    }
                    client_mut(&mut self.house.clients, id).state = State::Fetching(fetching);
                }
                other => {
                    client_mut(&mut self.house.clients, id).state = other;
                    return;
                }
            }
        }
        let _ = sockets;
    }

    // ---- data that is not in memory -----------------------------------------------------------------------------

    fn fetch(
        &mut self,
        session: &mut Session,
        request: Request,
        missing: Vec<Missing>,
        mut wanted: Vec<Missing>,
        parked: Option<(Wait, u64, usize)>,
    ) {
        self.house.metrics.fetches.count();
        // A command that tries again reads for itself, so that nobody can keep what it needs from it for ever.
        let is_first_try = wanted.is_empty();
        wanted.extend(missing);
        wanted.sort_unstable();
        wanted.dedup();
        let token = self.house.token();
        for missing in &wanted {
            if is_first_try {
                let waiting = self.shared_loads.entry(*missing).or_default();
                waiting.push(token);
                if waiting.len() > 1 {
                    continue;
                }
            }
            let row = row_of_live(&self.keys, missing);
            self.house.background.load(Load { missing: *missing, row, token });
        }
        session.blocked = parked.is_some();
        let outstanding = wanted.len();
        let fetching = Fetching { request, wanted, arrived: Vec::new(), outstanding, failed: None, parked };
        self.fetching.insert(token, session.id);
        client_mut(&mut self.house.clients, session.id).state = State::Fetching(fetching);
    }

    fn walk(&mut self, session: &Session, walk: Box<Walk>) {
        self.house.metrics.walks.count();
        self.house.walking.insert(session.id);
        let token = self.house.token();
        let walking = Walking {
            walk,
            outstanding: 0,
            failed: None,
            token,
            database: session.database,
            wanted: Vec::new(),
            arrived: Vec::new(),
        };
        client_mut(&mut self.house.clients, session.id).state = State::Walking(walking);
    }

    /// Takes the answers of the threads.
    fn hear_threads(&mut self, now: Now, sockets: &dyn Sockets) {
        while let Some(done) = self.house.early.pop_front().or_else(|| self.house.background.next_done()) {
            match done {
                Done::Spilled(mut spill) => self.keys.landed(&mut spill),
                Done::Saved(save) => self.saved(save),
                Done::Loaded { missing, token: 0, fetched } => self.prefetched(&missing, fetched),
                Done::Loaded { missing, token: STEP_TOKEN, fetched } => self.step_loaded(missing, fetched),
                Done::Looked(answer) => self.looked(answer),
                Done::Loaded { missing, token, fetched } => self.loaded_for_all(now, sockets, missing, token, fetched),
                Done::StoreFailed(reason) => {
                    error!(%reason, "the store has failed; the server stops, what was acknowledged is in the log");
                    self.exit = Some(1);
                }
            }
        }
    }

    fn prefetched(&mut self, missing: &Missing, fetched: Result<Option<Fetched>, String>) {
        match fetched {
            Ok(Some(fetched)) => self.keys.install(missing, fetched),
            // Whoever needs it asks again, and is told what is wrong.
            Ok(None) | Err(_) => self.keys.give_up_loading(missing),
        }
    }

    /// Gives a chunk that was read to all who asked for it, and a value to who asked first. The others run again and mostly
    /// find that in memory; if not, they ask once more.
    fn loaded_for_all(
        &mut self,
        now: Now,
        sockets: &dyn Sockets,
        missing: Missing,
        token: u64,
        fetched: Result<Option<Fetched>, String>,
    ) {
        // A walk reads for itself, even what others are waiting for.
        let is_shared = self.shared_loads.get(&missing).is_some_and(|waiting| waiting.first() == Some(&token));
        let waiting = if is_shared { self.shared_loads.remove(&missing) } else { None };
        let for_others = || match &fetched {
            Ok(Some(Fetched::Chunk(chunk))) => Arrival::Read(Ok(Some(Fetched::Chunk(chunk.clone())))),
            Err(reason) => Arrival::Read(Err(reason.clone())),
            Ok(_) => Arrival::ForAnother,
        };
        let others: Vec<_> = waiting.into_iter().flatten().skip(1).map(|other| (other, for_others())).collect();
        self.loaded(now, sockets, missing, token, Arrival::Read(fetched));
        for (other, arrival) in others {
            self.loaded(now, sockets, missing, other, arrival);
        }
    }

    fn loaded(&mut self, now: Now, sockets: &dyn Sockets, missing: Missing, token: u64, arrival: Arrival) {
        if let Some(id) = self.walk_of(token) {
            let Arrival::Read(fetched) = arrival else { unreachable!("a walk reads for itself") };
            return self.feed_walk(id, missing, fetched);
        }
        let Some(id) = self.fetching.get(&token).copied() else { return };
        let Some(client) = self.house.clients.get_mut(&id) else {
            self.fetching.remove(&token);
            return;
        };
        let State::Fetching(fetching) = &mut client.state else { return };
        fetching.outstanding -= 1;
        match arrival {
            Arrival::ForAnother => {}
            Arrival::Read(Ok(Some(fetched))) => {
                self.house.metrics.fetched_bytes.add(weight(&fetched));
                fetching.arrived.push((missing, fetched));
            }
            // It was popped or deleted meanwhile: the command will see that.
            Arrival::Read(Ok(None)) if !self.keys.still_missing(&missing) => {}
            Arrival::Read(Ok(None)) => fetching.failed = Some(format!("{missing:?} is not in the store")),
            Arrival::Read(Err(reason)) => fetching.failed = Some(reason),
        }
        if fetching.outstanding > 0 {
            return;
        }
        self.fetching.remove(&token);
        let State::Fetching(fetching) = std::mem::replace(&mut client.state, State::Ready) else { return };
        self.run_fetched(now, id, fetching);
        self.serve_waiters(now, sockets);
    }

    /// Puts what was fetched into its place and runs the command again.
    fn run_fetched(&mut self, now: Now, id: ClientId, fetching: Fetching) {
        let Some(mut session) = client_mut(&mut self.house.clients, id).session.take() else { return };
        for (missing, fetched) in fetching.arrived {
            self.keys.install(&missing, fetched);
        }
        let database = fetching.parked.as_ref().map_or(session.database, |(_, _, database)| *database);
        if let Some(reason) = fetching.failed {
            error!(%reason, "stored data cannot be read");
            let reply = Error::new(format!("ERR the stored data of this command cannot be read: {reason}")).into();
            drop_transaction(&mut self.keys, &mut session);
            session.script_attempts = 0;
            self.done(&mut session, &reply, 0, fetching.parked);
        } else {
            self.house.metrics.reruns.count();
            let command = find(&fetching.request).expect("what was fetched for was found before");
            let (outcome, gate) = self.run(now, &mut session, command, &fetching.request, database);
            match outcome {
                Err(Stop::Fetch(missing)) => {
                    self.fetch(&mut session, fetching.request, missing, fetching.wanted, fetching.parked);
                }
                outcome => self.settle(now, &mut session, fetching.request, outcome, gate, fetching.parked),
            }
        }
        self.give_back(id, session);
        self.house.enqueue(id);
        self.house.touch(id);
    }

    fn walk_of(&self, token: u64) -> Option<ClientId> {
        self.house.walking.iter().copied().find(|id| match self.house.clients.get(id).map(|client| &client.state) {
            Some(State::Walking(walking)) => walking.token == token,
            _ => false,
        })
    }

    fn feed_walk(&mut self, id: ClientId, missing: Missing, fetched: Result<Option<Fetched>, String>) {
        let State::Walking(walking) = &mut client_mut(&mut self.house.clients, id).state else { return };
        walking.outstanding -= 1;
        match (missing, fetched) {
            (missing, Ok(Some(fetched))) if walking.walk.is_over() => walking.arrived.push((missing, fetched)),
            (Missing::Chunk { at, .. }, Ok(Some(Fetched::Chunk(chunk)))) => walking.walk.feed(at, &chunk),
            // What its end wanted was popped or deleted meanwhile: the end will see that.
            (missing, Ok(None)) if walking.walk.is_over() && !self.keys.still_missing(&missing) => {}
            (missing, Ok(_)) => walking.failed = Some(format!("{missing:?} is not in the store")),
            (_, Err(reason)) => walking.failed = Some(reason),
        }
    }

    /// Lets every walk go on a step; tells whether one of them could go on at once.
    fn step_walks(&mut self, now: Now, sockets: &dyn Sockets) -> bool {
        let walking: Vec<ClientId> = self.house.walking.iter().copied().collect();
        for id in walking {
            self.step_walk(now, id);
            self.serve_waiters(now, sockets);
        }
        self.house.walking.iter().any(|id| match self.house.clients.get(id).map(|client| &client.state) {
            Some(State::Walking(walking)) => walking.outstanding == 0,
            _ => false,
        })
    }

    fn step_walk(&mut self, now: Now, id: ClientId) {
        let client = client_mut(&mut self.house.clients, id);
        let State::Walking(walking) = &mut client.state else { return };
        if walking.outstanding > 0 {
            return;
        }
        if walking.failed.is_none() {
            match walking.walk.step(WALK_BYTES_A_TURN, WALK_CHUNKS_AHEAD) {
                command::Step::More => return,
                command::Step::Needs(chunks) => {
                    walking.outstanding = chunks.len();
                    let (object, slot, token) = (walking.walk.object, walking.walk.slot, walking.token);
                    for at in chunks {
                        let missing = Missing::Chunk { object, slot, at };
                        self.house.background.load(Load { missing, row: None, token });
                    }
                    return;
                }
                command::Step::Done => {}
            }
        }
        let State::Walking(walking) = std::mem::replace(&mut client.state, State::Ready) else { return };
        self.house.walking.remove(&id);
        let Some(mut session) = client.session.take() else { return };
        self.finish_walk(now, &mut session, walking);
        self.give_back(id, session);
        self.house.enqueue(id);
        self.house.touch(id);
    }

    fn finish_walk(&mut self, now: Now, session: &mut Session, mut walking: Walking) {
        if let Some(reason) = walking.failed {
            error!(%reason, "stored data cannot be read");
            let error = Error::new(format!("ERR the stored data of this command cannot be read: {reason}"));
            return self.answer(session, &error.into(), 0);
        }
        for (missing, fetched) in walking.arrived.drain(..) {
            self.keys.install(&missing, fetched);
        }
        self.keys.begin(self.house.buffer.next_lsn(), walking.database);
        self.keys.note_growth = self.house.waiters.len() > 0;
        let mut context = Context {
            now,
            keys: &mut self.keys,
            jobs: &mut self.jobs,
            session,
            host: &mut self.house,
            random: &mut self.random,
            within: Within::Nothing,
        };
        let outcome = walking.walk.finish(&mut context);
        self.finish_frame();
        match outcome {
            Ok(reply) => self.answer(session, &reply, self.house.last_lsn),
            Err(Stop::Walk(walk)) => self.walk(session, walk),
            Err(Stop::Fetch(missing)) => self.fetch_for_end(session, walking, missing),
            Err(stop) => {
                let error =
                    error_of(&stop).unwrap_or(Error::constant("ERR the list changed while it was read; try again"));
                self.answer(session, &error.into(), self.house.last_lsn);
            }
        }
    }

    /// The end of a walk looks at, or changes, what is not in memory: it runs again once all of that is there.
    fn fetch_for_end(&mut self, session: &Session, mut walking: Walking, missing: Vec<Missing>) {
        self.house.metrics.fetches.count();
        // What it asked for before may have had to leave memory again.
        walking.wanted.extend(missing);
        walking.wanted.sort_unstable();
        walking.wanted.dedup();
        for missing in &walking.wanted {
            let row = row_of_live(&self.keys, missing);
            self.house.background.load(Load { missing: *missing, row, token: walking.token });
        }
        walking.outstanding = walking.wanted.len();
        self.house.walking.insert(session.id);
        client_mut(&mut self.house.clients, session.id).state = State::Walking(walking);
    }

    // ---- time -----------------------------------------------------------------------------------------------------

    /// Deletes keys whose time has come although nobody asks for them.
    fn expire(&mut self, now: Now, sockets: &dyn Sockets) {
        if self.keys.next_expiry_ms().is_none_or(|at_ms| at_ms > now.wall_ms()) {
            return;
        }
        self.keys.begin(self.house.buffer.next_lsn(), 0);
        self.keys.expire_due(EXPIRIES_A_TURN);
        self.finish_frame();
        self.serve_waiters(now, sockets);
    }

    // ---- the end of a turn --------------------------------------------------------------------------------------

    /// Writes the frames of the turn to the log; tells whether they are there.
    fn append(&mut self) -> bool {
        let log = self.house.log.as_mut().expect("the log is open until the shard ends");
        match log.append(&mut self.house.buffer) {
            Ok(_) => {
                self.stuck = false;
                true
            }
            Err(LogError::NoSpace) => {
                if !self.stuck {
                    error!("the disk is full: the log cannot grow, and no reply leaves until it can");
                }
                self.stuck = true;
                false
            }
            Err(error) => {
                error!(%error, "the log cannot be written; the server stops");
                self.exit = Some(1);
                false
            }
        }
    }

    fn stop(&mut self) {
        let last = self.house.last_lsn;
        let durability = self.house.log().durability();
        match durability.wait(last) {
            Ok(()) => self.exit = Some(0),
            Err(error) => {
                error!(%error, "the log cannot be synced");
                self.exit = Some(1);
            }
        }
    }

    /// Hands the server what may leave.
    fn release(&mut self, outgoing: &mut Vec<Outgoing>) {
        // Replies that were given under another policy have no gate, or wait behind one that has.
        let durable = self.house.log().durable();
        let mut touched = std::mem::take(&mut self.house.touched);
        if !self.house.gated.is_empty() {
            touched.extend(std::mem::take(&mut self.house.gated));
        }
        for id in touched.drain(..) {
            self.release_one(id, durable, outgoing);
        }
        // Its memory is used again, unless commands have touched clients meanwhile.
        if self.house.touched.is_empty() {
            self.house.touched = touched;
        }
        // Whoever was promised a sync gets it, though CONFIG SET has taken `always` back since.
        if !self.house.gated.is_empty() && self.house.settings.appendfsync != AppendFsync::Always {
            self.house.log().request_sync();
        }
    }

    fn release_one(&mut self, id: ClientId, durable: u64, outgoing: &mut Vec<Outgoing>) {
        let house = &mut self.house;
        let Some(client) = house.clients.get_mut(&id) else { return };
        client.touched = false;
        let Some(session) = client.session.as_deref() else { return };
        let mut close = session.closing;
        let subscribed = session.subscriptions() > 0;
        if client.is_ready() && client.pending.is_empty() {
            if let Some(error) = client.malformed.take() {
                let protocol = session.protocol;
                client.reply(&error.into(), protocol, 0, &mut house.free);
                close = true;
            }
            close |= client.ended;
        } else if client.ended && matches!(client.state, State::Parked(_) | State::Held { .. }) {
            close = true;
        }
        let bytes = client.take_replies(durable);
        let waiting_requests = client.waiting_requests();
        if !client.is_drained() {
            house.gated.insert(id);
            if close {
                if let Some(session) = &mut client.session {
                    session.closing = true;
                }
                close = false;
            }
        }
        outgoing.push(Outgoing { client: id, bytes, close, waiting_requests, subscribed });
        if close {
            self.forget(id);
        }
    }

    fn wake_at(&self, now: Now) -> Option<Duration> {
        let in_ms = |at_ms: u64| now.mono + Duration::from_millis(at_ms.saturating_sub(now.wall_ms()).max(1));
        let expiry = self.keys.next_expiry_ms().map(in_ms);
        let held = (!self.house.held.is_empty()).then(|| now.mono + Duration::from_millis(10));
        let rule = self.jobs.rules.next_expiry_ms().map(in_ms);
        let (task, timed) = self.house.sweeper.wakes_at();
        let lease = self.jobs.leases.next_due_ms().map(in_ms);
        let gate = self.jobs.limits.next_wake_ns().map(Duration::from_nanos);
        let jobs = [rule, lease, gate, task.map(in_ms), timed, self.page_wakes_at()];
        let others = [self.house.waiters.next_deadline(), expiry, held, self.checkpoint_wakes_at(now)];
        others.into_iter().chain(jobs).flatten().min()
    }
}

pub(super) fn client_mut(clients: &mut std::collections::BTreeMap<ClientId, Client>, id: ClientId) -> &mut Client {
    clients.get_mut(&id).expect("a client is there while its command runs")
}

/// How a load that a command waits for has ended.
enum Arrival {
    Read(Result<Option<Fetched>, String>),
    /// Another command had asked for the same value and was given it.
    ForAnother,
}

/// The row to read a whole value from. Also for one that is in memory at the moment: it may have to leave again before the
/// rest of what a command wants is there.
fn row_of_live(keys: &crate::keyspace::Keyspace, missing: &Missing) -> Option<(Vec<u8>, crate::keyspace::Kind)> {
    if keys.is_alive(missing) { row_of(keys, missing) } else { None }
}

fn weight(fetched: &Fetched) -> u64 {
    match fetched {
        Fetched::Chunk(chunk) => chunk.memory_bytes() as u64,
        Fetched::Whole(value) => value.memory_bytes() as u64,
    }
}
