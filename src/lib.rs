//! Millpond: a job-queue server that speaks the Redis protocol and keeps its backlog on disk.
//!
//! This page says once how it is built. Each module's own page says the rest.
//!
//! # From above
//!
//! One thread owns all data and runs all commands, one after the other, as in Redis. What is new is where the data lies:
//! keys, and the two ends of every list, are in memory; the middle of a list that has grown beyond its share lies on
//! disk in chunks; and every change is in a log before anybody is told of it.
//!
//! ```text
//!  clients ──▶ server ── requests ──▶ shard ── runs ──▶ command ── reads, effects ──▶ keyspace
//!     ▲          │  sockets, RESP       │  one turn after the other                       │ what to spill, save, fetch
//!     └─ replies ┘                      ├── frames of the turn ──▶ log     the truth      │ is handed out as values
//!                                       └── threads behind it ───▶ store   its image ◀────┘
//! ```
//!
//! The log is the truth. Memory and store are images of it: a start reads the store's rows, then replays the frames that
//! are newer. The store may therefore be late, and it may be written by whichever thread has time.
//!
//! # A turn
//!
//! The event loop gathers what all ready connections have sent and calls [`shard::Shard::turn`] with it and with the time.
//! A turn runs requests of each client in its order, a few of one client before the next has its turn; sees to timeouts,
//! expired keys, what the threads have brought and what they are to do next; and writes the frames of all that ran by one
//! system call. Only then are the replies handed over. With `appendfsync always` a reply has a gate besides, the number of
//! the newest frame that it rests on, and stays until that frame is synced. One write, and one sync, serve all clients of
//! a turn: the busier the server, the less each pays.
//!
//! A command never waits. If it cannot go on it says why, and its client is set aside ([`command::Stop`]):
//!
//! - *Wait*: a blocking command found nothing. It is parked, and run again when one of its keys has become what it waits
//!   for: right after the command that did it, oldest waiter first, and never for a client that has hung up.
//! - *Fetch*: data is not in memory. Threads bring it, and the command is run again from its beginning.
//! - *Walk*: it would need more than may be brought in at once, such as LRANGE over a backlog. It sees that list as it was
//!   when it began, in bounded steps, while others go on.
//!
//! Running again is safe because a command reads first and writes last: what stops it, stops it before its first write.
//! EXEC and scripts cannot be taken apart like that. EXEC lets its commands run with writes refused first, to learn what
//! they will miss; a script begins again as long as it has written nothing. What is still missing after that is read on
//! the spot, the one place where a turn waits for a disk to be read.
//!
//! # The way of a push
//!
//! `LPUSH queue:default job` comes out of the decoder as two arguments more than a name, is found in the table of commands,
//! and may be held for up to `push-wait` if chunks leave memory more slowly than jobs come in. It becomes an effect,
//! "these items, at this end, of the object with this number", which is appended to the frame of the command and applied
//! by the function that also replays the log: there is one way to change data. The item stands at the end of the list's
//! outermost chunk. A worker in BRPOP gets it in the same turn, by an effect of its own behind the first; both are in the
//! log when the producer reads `1` and the worker its job.
//!
//! If no worker comes, the chunk fills and is sealed. When the share for lists is used up, sealed chunks far from both
//! ends are packed into a batch and ingested as one table of the store, which is never rewritten. A reference of a few
//! dozen bytes stays. Pops that come near read ahead; a batch whose chunks are all used up is dropped as a file. So a job
//! is written twice at the most, once to the log and once to the store, however long it waits.
//!
//! # Jobs and rules
//!
//! A list whose key is that of a queue holds jobs, and people make *rules* about jobs: blackholes take them out, pauses hold
//! them. Rules are fields of a hash in a database of the server's own, which no client can select, so log, checkpoint and
//! recovery treat them as data; in memory they stand compiled in [`sched::Scheduler`]. A queue without rules costs a push
//! and a pop one comparison.
//!
//! A push asks the rules about each job, and what one takes never gets into the list. A pop passes over what may not go: it
//! leaves it where it is and takes an item from behind it by its ordinal. What is known to be held at an end is an interval
//! of ordinals, so the next pop goes on behind it, and a pop that has looked at enough jobs leaves the rest to the sweeper.
//!
//! The sweeper (`shard/sweeper.rs`) runs between commands. A thread looks at chunks with a copy of the rules and says which
//! ordinals a rule takes; a turn takes those out that are still there, a bounded number, together with their counts, in one
//! frame. A chunk that was looked at says so, and is not looked at again for the same rules. When a chunk of jobs goes to
//! the store, a summary of what it holds stays with its reference: sweeps, searches and statistics read the summaries and
//! only those chunks that the summaries do not decide. A count to the job (DRYRUN EXACT) asks the same thread, and changes
//! nothing.
//!
//! A queue that tenants share has an index of *lanes* ([`sched::Lanes`]), which is memory only and follows from the list: where
//! the jobs of each tenant stand, as far as they were met. Lanes are served by deficit round robin; a pop takes the item by
//! its ordinal, and the next pop sees in the list whether that one was taken. Pops sort what comes into lanes themselves; the
//! thread of the sweeper (`shard/indexer.rs`) sorts what waits, ahead of them. Of a long lane only the first part is in the
//! index, and the rest is read again when that is used up, so memory follows the number of tenants and not the backlog.
//!
//! A job that a worker has under a lease, or that is not due yet, stands in a list of the server's own database, written by the
//! frame that took it out of its queue. [`sched::Leases`] knows their tokens and when they are due; it follows from the records.
//!
//! Jobs that limits act on stand in lanes too, one for each tenant and set of *gates*, which are the limits with their keys
//! ([`sched::Limits`]). A lane whose gate is closed is parked until it opens: at a moment that the rate says, or when a job
//! that counts has ended. Those jobs are followed from the pop on by a record each; what workers write about them is seen from
//! the effects ([`keyspace::Sightings`]), whichever command has them, and ends them in the same frame.
//!
//! Where a queue is served by service levels, each level has a ring of turns of its own among its lanes, and [`sched::Slack`]
//! says which ring is next: of their next jobs, and of those of the other keys of the pop, the one that has used most of its time.
//!
//! How many jobs went into a queue, were popped and were removed follows from the effects on its list; the table of queues
//! ([`keyspace::queue`]) keeps these counts for longer than a list lives, and saves them as of one frame with each batch of
//! a checkpoint.
//!
//! # Log and store
//!
//! [`log`] carries opaque frames, numbered without gaps, in segments that are made ahead and used again. It knows what is
//! durable, refuses to start on damage in what was known to be synced, and takes a failed sync for final.
//!
//! [`store`] is rows in a few spaces, and chunks in batches; an embedded LSM tree behind a trait, with a second
//! implementation in memory whose disk can fail. It is written by one thread: spills as memory demands, checkpoints when
//! the log is long or the server idle. A checkpoint writes the rows of what has changed and the frame up to which the
//! store is complete; the log before that frame is given back. All persisted bytes are drawn in [`keyspace::layout`].
//!
//! # Who imports whom
//!
//! ```text
//! main ─▶ server ─▶ shard ─▶ command ─▶ keyspace ─▶ log, store, job
//!                               ├─▶ sched ───▶ job   rules, and what they make of a job; what a payload says
//!                               ├─▶ script     Lua 5.1 and the stock scripts that run natively; knows no keys
//!                               └─▶ session    what one client has set
//! everybody may use: clock, glob, logging, metrics, resp, settings
//! ```
//!
//! `tests/it/tidy.rs` refuses any other import. Note what is absent. `log` and `store` know nothing of Redis. `keyspace`
//! does no I/O: what is to be fetched or written leaves it as a value, and comes back as one. `command` sees neither log
//! nor threads, only a [`command::Context`]. Only `server` has async code. Only [`clock`] reads the clock, and chance comes
//! from a generator that is handed in. There is no second thread that sees the data, and so no lock around it.
//!
//! # What always holds
//!
//! - No reply leaves before the frames that it speaks of are in the log.
//! - A command, an EXEC and a script are one frame each: after a crash all of it is there, or nothing.
//! - A job is popped by one effect of one frame: it is never given twice, and never lost between list and worker.
//! - Everything has a limit with a name: bytes, requests and steps of a turn, shares of memory, what waits for the store.
//! - Lists leave memory; nothing is evicted for good. Who would need more memory is told so by an error.
//! - A disk that cannot keep what was promised ends the process; a full one makes it wait, and refuse what would add.
//!
//! # How it is tested
//!
//! Beside the code: unit tests; a model of Redis' types that the keyspace is compared with, through spills and crashes;
//! every cut and every flipped byte of a log; one suite for both stores. `tests/it` starts the real program: kills it,
//! cuts its power by a shim under its system calls, fills it beyond its memory, races blocked workers, and sends every
//! declared example and generated traffic to a real Redis too, where one is installed. `compat` runs Sidekiq, Resque and
//! their add-ons. `.ci/run` does all of that from a clean clone.

pub mod clock;
pub mod command;
pub mod glob;
pub mod job;
pub mod keyspace;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod resp;
pub mod sched;
pub mod script;
pub mod server;
pub mod session;
pub mod settings;
pub mod shard;
pub mod store;
