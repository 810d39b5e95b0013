//! Commands that may need memory or disk: they run, are held until the store has caught up, or are refused.
//!
//! What takes jobs is never held and never refused, so that a server in need can always be emptied.

use std::time::Duration;

use tracing::debug;

use crate::clock::Now;
use crate::command::{
    Command, FULL_OF_KEYS, Host, disk_is_low, drop_transaction, is_served_from_reserve, may_fill_keys,
};
use crate::keyspace::Disk;
use crate::resp::Error;
use crate::session::{ClientId, Session};

use super::client::{Request, State};
use super::turn::client_mut;
use super::{Shard, Sockets};

const OUT_OF_MEMORY: Error = Error::constant("OOM command not allowed when used memory > 'maxmemory'.");

/// With less free than a segment of the log takes, nothing is served from the reserve but jobs that come back.
const SCARCE_BYTES: u64 = 64 << 20;

impl Shard {
    /// Says whether a command that may need memory or disk can run now. If not, it is held until the store has caught up,
    /// or refused. One that was held before, until then, gets no more time.
    pub(super) fn has_room_for(
        &mut self,
        now: Now,
        session: &mut Session,
        command: &Command,
        request: &Request,
        held_until: Option<Duration>,
    ) -> bool {
        if self.keys.disk > Disk::Roomy && !self.is_served_from_reserve(session, command, request) {
            self.refuse(session, command, &disk_is_low(self.house.settings.disk_reserve_bytes));
            return false;
        }
        if self.keys.memory.is_full_of_keys() && may_fill_keys(session, command, request) {
            self.refuse(session, command, &FULL_OF_KEYS);
            return false;
        }
        if !self.keys.memory.is_behind() {
            return true;
        }
        let wait = Duration::from_millis(self.house.settings.push_wait_ms);
        let until = held_until.unwrap_or(now.mono + wait);
        if until <= now.mono {
            self.refuse(session, command, &OUT_OF_MEMORY);
            return false;
        }
        if held_until.is_none() {
            self.house.metrics.push_waits.count();
        }
        client_mut(&mut self.house.clients, session.id).state = State::Held { request: request.clone(), until };
        self.house.held.insert(session.id);
        false
    }

    fn is_served_from_reserve(&mut self, session: &Session, command: &Command, request: &Request) -> bool {
        self.keys.begin(self.house.buffer.next_lsn(), session.database);
        is_served_from_reserve(&self.keys, session, command, request)
    }

    /// Looks at the disk. While new jobs may soon be refused, those that leave are remembered: handed back, they are taken.
    pub(super) fn look_at_disk(&mut self) {
        let (free, reserve) = (self.house.background.free_bytes(), self.house.settings.disk_reserve_bytes);
        self.keys.disk = match free {
            free if free >= reserve => Disk::Roomy,
            free if free >= reserve.min(SCARCE_BYTES) => Disk::Low,
            _ => Disk::Scarce,
        };
        let is_near = free < reserve.saturating_mul(2);
        let handbacks = &mut self.keys.handbacks;
        if handbacks.active != is_near {
            handbacks.active = is_near;
            handbacks.clear();
        }
        handbacks.ids_max = self.house.settings.handback_ids_max as usize;
    }

    /// Answers that there is no room. A refused EXEC is over, as in Redis: its client takes it for over, too.
    fn refuse(&mut self, session: &mut Session, command: &Command, error: &Error) {
        self.house.metrics.oom_refusals.count();
        if command.name != "exec" {
            return self.answer(session, &error.clone().into(), 0);
        }
        drop_transaction(&mut self.keys, session);
        let text = format!("EXECABORT Transaction discarded because of: {}", error.line());
        self.answer(session, &Error::new(text).into(), 0);
    }

    /// Runs commands that waited for the store, or refuses those that have waited too long.
    pub(super) fn run_held(&mut self, now: Now, sockets: &dyn Sockets) {
        let held: Vec<ClientId> = self.house.held.iter().copied().collect();
        for id in held {
            let Some(client) = self.house.clients.get_mut(&id) else { continue };
            let State::Held { until, .. } = client.state else { continue };
            let has_left = client.ended || client.is_closing();
            if !has_left && self.keys.memory.is_behind() && now.mono < until {
                continue;
            }
            let State::Held { request, .. } = std::mem::replace(&mut client.state, State::Ready) else { continue };
            self.house.held.remove(&id);
            // Whoever gives up waiting sends the job again: run now, it would be there twice.
            if has_left || sockets.hung_up(id) {
                debug!(client = id, "a client hung up while its command was held; it is dropped");
                self.house.kill(id);
                continue;
            }
            self.house.enqueue(id);
            self.house.touch(id);
            self.run_request(now, id, request, Some(until), sockets);
        }
    }
}
