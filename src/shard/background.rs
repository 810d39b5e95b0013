//! The threads behind the shard: one writes the store, some read it. They get values and give values back; what is done
//! with an answer is decided in a turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{error, info, warn};

use crate::command::job::look::{Answer, Question, look};
use crate::job::Summary;
use crate::keyspace::chunk::Chunk;
use crate::keyspace::recovery::{Fetched, inline_body};
use crate::keyspace::save::piece_key;
use crate::keyspace::{Kind, Missing, Save, Spill, SpilledChunk, Value};
use crate::store::{Space, Store, StoreError};

/// Threads that read the store: enough to keep a disk busy, few enough not to starve the event loop on two cores.
const LOADERS: usize = 2;
/// A write that fails is tried again after the store was opened anew; more often than this in a row is final.
const ATTEMPTS_MAX: u32 = 2;
/// How long the store thread waits for room on a full disk before it tries again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What the store thread is asked to do, in this order.
#[derive(Debug)]
pub enum Job {
    Spill(Spill),
    Save(Save),
    DropBatches(Vec<u64>),
}

/// One thing to read.
#[derive(Debug)]
pub struct Load {
    pub missing: Missing,
    /// For a whole value: the row of its key.
    pub row: Option<(Vec<u8>, Kind)>,
    /// Who wants it; handed back as it is.
    pub token: u64,
}

/// What the sweeper's thread is asked to do.
#[derive(Debug)]
enum Ask {
    Look(Question),
    Free(Box<dyn std::any::Any + Send>),
}

/// What a thread has to tell.
#[derive(Debug)]
pub enum Done {
    Spilled(Spill),
    Saved(Save),
    /// None: the store does not have it, which is right if it was dropped meanwhile.
    Loaded {
        missing: Missing,
        token: u64,
        fetched: Result<Option<Fetched>, String>,
    },
    /// What was seen in a part of a queue.
    Looked(Answer),
    /// The store cannot be written any more.
    StoreFailed(String),
}

/// Wakes the event loop; any thread, any time.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// See the module.
pub struct Background {
    store: Arc<dyn Store>,
    jobs: Option<Sender<Job>>,
    questions: Option<Sender<Ask>>,
    loads: Arc<Loads>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
    waker: Arc<Mutex<Option<Waker>>>,
    /// Bytes free on the disk, as last looked at by the store thread.
    free_bytes: Arc<AtomicU64>,
}

#[derive(Default)]
struct Loads {
    queue: Mutex<(VecDeque<Load>, bool)>,
    wanted: Condvar,
}

/// Where a thread reports.
#[derive(Clone)]
struct Report {
    done: Sender<Done>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Report {
    fn tell(&self, done: Done) {
        // Nobody listens any more when the shard is gone, and then nobody needs to know.
        let _ = self.done.send(done);
        if let Some(wake) = &*self.waker.lock() {
            wake();
        }
    }
}

impl Background {
    /// Starts the threads.
    pub fn start(store: Arc<dyn Store>, free_bytes: impl Fn() -> u64 + Send + 'static) -> Background {
        let (done_sender, done) = channel();
        let (jobs_sender, jobs) = channel();
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let loads: Arc<Loads> = Arc::default();
        let free = Arc::new(AtomicU64::new(free_bytes()));
        let report = Report { done: done_sender, waker: waker.clone() };
        let mut threads = Vec::new();
        let writer = StoreThread { store: store.clone(), report: report.clone(), free: free.clone() };
        threads.push(spawn("store", move || writer.run(&jobs, free_bytes)));
        for _ in 0..LOADERS {
            let (store, loads, report) = (store.clone(), loads.clone(), report.clone());
            threads.push(spawn("loader", move || load_all(&*store, &loads, &report)));
        }
        let (questions, asked) = channel();
        {
            let (store, report) = (store.clone(), report.clone());
            threads.push(spawn("sweeper", move || look_at_all(&*store, &asked, &report)));
        }
        Background {
            store,
            jobs: Some(jobs_sender),
            questions: Some(questions),
            loads,
            done,
            threads,
            waker,
            free_bytes: free,
        }
    }

    pub fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    pub fn submit(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("the sender lives as long as the threads");
        // A store thread that has ended has said why.
        let _ = jobs.send(job);
    }

    pub fn load(&self, load: Load) {
        self.loads.queue.lock().0.push_back(load);
        self.loads.wanted.notify_one();
    }

    /// Asks for a look at a part of a queue.
    pub fn look(&self, question: Question) {
        let questions = self.questions.as_ref().expect("the sender lives as long as the threads");
        // A thread that has ended has panicked, and with it the process ends.
        let _ = questions.send(Ask::Look(question));
    }

    /// Frees what may be large.
    pub fn free(&self, what: impl std::any::Any + Send) {
        let questions = self.questions.as_ref().expect("the sender lives as long as the threads");
        let _ = questions.send(Ask::Free(Box::new(what)));
    }

    /// What the threads have to tell since the last look.
    pub fn next_done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.jobs = None;
        self.questions = None;
        self.loads.queue.lock().1 = true;
        self.loads.wanted.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system gives a thread at the start")
}

struct StoreThread {
    store: Arc<dyn Store>,
    report: Report,
    free: Arc<AtomicU64>,
}

impl StoreThread {
    fn run(&self, jobs: &Receiver<Job>, free_bytes: impl Fn() -> u64) {
        loop {
            self.free.store(free_bytes(), Ordering::Relaxed);
            // Also without work the disk is looked at, since others fill it too.
            let job = match jobs.recv_timeout(FULL_PAUSE) {
                Ok(job) => job,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => continue,
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if let Err(reason) = self.run_job(job) {
                error!(%reason, "the store cannot be written");
                self.report.tell(Done::StoreFailed(reason));
                return;
            }
        }
    }

    fn run_job(&self, job: Job) -> Result<(), String> {
        match job {
            Job::Spill(mut spill) => {
                self.ingest(&spill)?;
                summarize(&mut spill);
                self.report.tell(Done::Spilled(spill));
            }
            Job::Save(mut save) => {
                let writes = save.take_writes();
                self.insist(|| self.store.commit(writes.clone()))?;
                self.report.tell(Done::Saved(save));
            }
            Job::DropBatches(batches) => {
                for batch in batches {
                    self.insist(|| self.store.drop_batch(batch))?;
                }
            }
        }
        Ok(())
    }

    fn ingest(&self, spill: &Spill) -> Result<(), String> {
        let chunks = encode(spill);
        self.insist(|| {
            // A batch that was written although its write reported a failure is written anew.
            if self.store.batches()?.contains(&spill.batch) {
                self.store.drop_batch(spill.batch)?;
            }
            self.store.ingest(spill.batch, &chunks)
        })
    }

    /// Does it until it is done: a full disk is waited for, another failure is tried again once the store is reopened.
    fn insist<T>(&self, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, String> {
        let mut failures = 0;
        loop {
            match attempt() {
                Ok(done) => {
                    if failures > 0 {
                        info!("the store can be written again");
                    }
                    return Ok(done);
                }
                Err(StoreError::Full { doing }) => {
                    warn!(doing, "the disk is full; the store waits for room");
                    std::thread::sleep(FULL_PAUSE);
                }
                Err(error) => {
                    failures += 1;
                    if failures > ATTEMPTS_MAX {
                        return Err(error.to_string());
                    }
                    warn!(%error, "the store failed and is opened again");
                }
            }
            if let Err(error) = self.store.reopen() {
                warn!(%error, "the store does not open");
            }
        }
    }
}

/// Ingests a batch on the spot, as replay does.
pub fn ingest_now(store: &dyn Store, spill: &mut Spill) -> Result<(), String> {
    store.ingest(spill.batch, &encode(spill)).map_err(|error| error.to_string())?;
    summarize(spill);
    Ok(())
}

/// Says of every chunk of a queue what jobs it holds, while its bytes are at hand.
fn summarize(spill: &mut Spill) {
    for chunk in spill.chunks.iter_mut().filter(|chunk| chunk.holds_jobs) {
        let body = &chunk.body;
        let items = (0..body.len() as u32).map(|index| body.item(index));
        chunk.summary = Some(Summary::of(items).into());
    }
}

fn encode(spill: &Spill) -> Vec<(u32, Vec<u8>)> {
    let encode = |(index, chunk): (usize, &SpilledChunk)| (index as u32, chunk.body.encode(chunk.object));
    spill.chunks.iter().enumerate().map(encode).collect()
}

fn load_all(store: &dyn Store, loads: &Loads, report: &Report) {
    loop {
        let load = {
            let mut queue = loads.queue.lock();
            loop {
                if queue.1 {
                    return;
                }
                if let Some(load) = queue.0.pop_front() {
                    break load;
                }
                loads.wanted.wait(&mut queue);
            }
        };
        let fetched = fetch(store, &load.missing, load.row.as_ref());
        report.tell(Done::Loaded { missing: load.missing, token: load.token, fetched });
    }
}

/// Answers questions in their order.
fn look_at_all(store: &dyn Store, asked: &Receiver<Ask>, report: &Report) {
    while let Ok(ask) = asked.recv() {
        let question = match ask {
            Ask::Look(question) => question,
            Ask::Free(what) => {
                drop(what);
                continue;
            }
        };
        let answer = look(question, |object, at| {
            let stored = store.chunk(at.id).map_err(|error| error.to_string())?;
            let chunk = stored.map(|stored| Chunk::decode(&stored, object)).transpose();
            chunk.map(|chunk| chunk.map(Arc::new)).map_err(|corrupt| format!("chunk {}: {corrupt}", at.id.0))
        });
        report.tell(Done::Looked(answer));
    }
}

/// Reads one thing from the store. None: it is not there.
pub fn fetch(store: &dyn Store, missing: &Missing, row: Option<&(Vec<u8>, Kind)>) -> Result<Option<Fetched>, String> {
    match *missing {
        Missing::Chunk { object, at, .. } => {
            let stored = store.chunk(at.id).map_err(|error| error.to_string())?;
            let Some(stored) = stored else { return Ok(None) };
            let chunk = Chunk::decode(&stored, object).map_err(|corrupt| format!("chunk {}: {corrupt}", at.id.0))?;
            Ok(Some(Fetched::Chunk(Arc::new(chunk))))
        }
        Missing::Whole { object, pieces, .. } => {
            // Without a row, it was no longer missing when it was asked for.
            let Some((name, kind)) = row else { return Ok(None) };
            let body = whole(store, object, pieces, name)?;
            let Some(body) = body else { return Ok(None) };
            let value = Value::read(*kind, &body).map_err(|corrupt| format!("object {object}: {corrupt}"))?;
            Ok(Some(Fetched::Whole(value)))
        }
    }
}

fn whole(store: &dyn Store, object: u64, pieces: u32, name: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let get = |space, key: &[u8]| store.get(space, key).map_err(|error| error.to_string());
    if pieces == 0 {
        let Some(row) = get(Space::Keys, name)? else { return Ok(None) };
        return Ok(Some(inline_body(&row).map_err(|corrupt| corrupt.to_string())?.to_vec()));
    }
    let mut body = Vec::new();
    for piece in 0..pieces {
        let Some(bytes) = get(Space::Rows, &piece_key(object, piece))? else { return Ok(None) };
        body.extend_from_slice(&bytes);
    }
    Ok(Some(body))
}
