//! The task that runs the shard's turns.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};

use super::hub::Hub;
use crate::clock::Clock;
use crate::shard::Shard;

/// Runs a turn whenever there is input, a background thread calls or it is time, until the shard wants to end.
pub async fn run_turns(hub: Rc<Hub>, mut shard: Shard, clock: Clock) -> i32 {
    let wake = hub.wake.clone();
    shard.set_waker(Arc::new(move || wake.notify_one()));
    let mut outgoing = Vec::new();
    let mut alarm = Alarm { sleep: Box::pin(sleep(Duration::ZERO)), set_for: None };
    loop {
        let now = clock.now();
        let turned = shard.turn(now, &mut hub.inbox.borrow_mut(), &*hub, &mut outgoing);
        let run = clock.now().mono;
        hub.send(&mut outgoing, |bytes| shard.recycle(bytes));
        shard.note_time(run - now.mono, clock.now().mono - now.mono);
        if let Some(code) = turned.exit {
            return code;
        }
        // Nobody wakes this task for what is in the inbox already, so what the shard left there counts as more.
        if turned.more || !hub.inbox.borrow().is_empty() {
            // The runtime looks at the sockets before it comes back here.
            yield_now().await;
        } else {
            alarm.wait(&hub, turned.wake_at, clock).await;
        }
    }
}

/// A timer that is moved as rarely as possible: a later time is only noticed when the earlier one has come.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// On the shard's monotonic clock.
    set_for: Option<Duration>,
}

impl Alarm {
    /// Waits for somebody to wake the turn task, or for `wake_at`.
    async fn wait(&mut self, hub: &Hub, wake_at: Option<Duration>, clock: Clock) {
        loop {
            if let Some(wake_at) = wake_at
                && self.set_for.is_none_or(|set_for| wake_at < set_for)
            {
                let now = clock.now().mono;
                if wake_at <= now {
                    return yield_now().await;
                }
                self.sleep.as_mut().reset(Instant::now() + (wake_at - now));
                self.set_for = Some(wake_at);
            }
            tokio::select! {
                biased;
                () = hub.wake.notified() => return,
                () = self.sleep.as_mut(), if self.set_for.is_some() => self.set_for = None,
            }
            if wake_at.is_some_and(|wake_at| wake_at <= clock.now().mono) {
                return;
            }
        }
    }
}
