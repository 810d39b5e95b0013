//! Servers as guards: started on a free port and a directory of their own, ended when dropped.

use super::client::Client;
use super::value::Value;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A start that takes longer is a hang; a full-size recovery is far quicker.
const START_WAIT_MAX: Duration = Duration::from_secs(120);
/// SIGTERM means: finish the turn and sync.
const STOP_WAIT_MAX: Duration = Duration::from_secs(60);
/// Enough for a panic with its backtrace.
const LOG_LINES_SHOWN: usize = 80;
/// What the log says when the server listens.
const READY: &str = "INFO ready ";
const READY_REDIS: &str = "Ready to accept connections";
/// Another program may take a port between its being found free and its being used.
const PORTS_TRIED: usize = 3;

/// Which server a guard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Millpond,
    Redis,
}

/// A running server, or one that was stopped and can be started again on the same data.
pub struct Server {
    program: Program,
    binary: PathBuf,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    home: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts Millpond (or what stands in for it) on a fresh directory with these flags.
    pub fn millpond(flags: &[&str]) -> Server {
        Server::millpond_with(flags, &[])
    }

    /// The same with environment variables.
    pub fn millpond_with(flags: &[&str], environment: &[(&str, &str)]) -> Server {
        let (program, binary) = millpond_binary();
        let mut server = Server::prepare(program, binary, flags, environment);
        server.start();
        server
    }

    /// Starts a real Redis on a fresh directory.
    pub fn redis(flags: &[&str]) -> Server {
        let binary = redis_binary().expect("the caller has asked redis_or_explain");
        let mut server = Server::prepare(Program::Redis, binary, flags, &[]);
        server.start();
        server
    }

    fn prepare(program: Program, binary: PathBuf, flags: &[&str], environment: &[(&str, &str)]) -> Server {
        let home = temporary_directory();
        std::fs::create_dir(home.path().join("data")).expect("a fresh directory can be filled");
        let flags = match program {
            Program::Millpond => flags.iter().map(|flag| (*flag).to_owned()).collect(),
            Program::Redis => as_redis_flags(flags),
        };
        let mut environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Redis' SORT ALPHA goes by the locale.
        environment.push(("LC_ALL".to_owned(), "C".to_owned()));
        Server { program, binary, flags, environment, home, port: free_port(), child: None }
    }

    /// Which program this is.
    pub fn program(&self) -> Program {
        self.program
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// The data directory.
    pub fn directory(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A directory beside the data, for what a test keeps with this server.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A new connection; panics if the server does not take one.
    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.log_tail()))
    }

    /// Replaces the environment that the next start gets.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Ends the process as a crash does.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            let status = child.wait().expect("a killed child ends");
            assert_eq!(
                status.signal(),
                Some(libc::SIGKILL),
                "the server had ended before: {status}\n{}",
                self.log_tail()
            );
        }
    }

    /// Asks the process to end and waits until it has.
    pub fn term(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server is running");
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        wait_for_exit(&mut child, STOP_WAIT_MAX)
            .unwrap_or_else(|| panic!("SIGTERM did not end the server\n{}", self.log_tail()))
    }

    /// Waits for a process that was told to end in another way than by a signal.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server is running");
        wait_for_exit(&mut child, STOP_WAIT_MAX).unwrap_or_else(|| panic!("it does not end\n{}", self.log_tail()))
    }

    /// Starts the stopped server again on its data; says how long it took to answer.
    pub fn start(&mut self) -> Duration {
        self.try_start().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, for starts that may be refused.
    pub fn try_start(&mut self) -> Result<Duration, String> {
        assert!(self.child.is_none(), "the server is running already");
        for _ in 0..PORTS_TRIED {
            let began = Instant::now();
            let mut child = self.spawn();
            match self.wait_until_ready(&mut child) {
                Ok(()) => {
                    self.child = Some(child);
                    return Ok(began.elapsed());
                }
                Err(why) if self.log().contains("ddress already in use") => {
                    eprintln!("port {} was taken meanwhile: {why}", self.port);
                    self.port = free_port();
                }
                Err(why) => {
                    // An unready server must not outlive the test.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("{} did not start: {why}\n{}", self.binary.display(), self.log_tail()));
                }
            }
        }
        Err(format!("no free port in {PORTS_TRIED} tries\n{}", self.log_tail()))
    }

    /// Starts the stopped server and kills it some time after its log says that it has come so far. Gives whether that was
    /// before it listened.
    pub fn start_and_kill_at(&mut self, stage: &str, later: Duration) -> bool {
        assert!(self.child.is_none(), "the server is running already");
        let before = self.log().lines().count();
        let said = |text: &str| self.log().lines().skip(before).any(|line| line.contains(text));
        let mut child = self.spawn();
        let began = Instant::now();
        let is_there = || said(stage) || said(READY) || self.program == Program::Redis;
        while !is_there() && began.elapsed() < START_WAIT_MAX && child.try_wait().is_ok_and(|status| status.is_none()) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(later);
        // It may have refused to start by itself; the start that follows tells.
        let _ = child.kill();
        let _ = child.wait();
        !said(READY) && !said(READY_REDIS)
    }

    /// Kills and starts again.
    pub fn crash_and_restart(&mut self) -> Duration {
        self.kill9();
        self.start()
    }

    /// All that the server wrote to its log since the first start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The end of the log, for a panic's message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        // Without the standard library's part of a panic's backtrace, which would push the panic's message out.
        let lines = log.lines().filter(|line| !line.trim_start().starts_with("at /rustc/")).collect::<Vec<_>>();
        format!("--- server log, its end ---\n{}", lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"))
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log.txt")
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log can be written");
        Command::new(&self.binary)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.directory())
            .args(&self.flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be duplicated"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", self.binary.display()))
    }

    fn wait_until_ready(&self, child: &mut Child) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < START_WAIT_MAX {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                return Err(format!("it ended with {status}"));
            }
            if answers_ping(self.port) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("no answer to PING within {START_WAIT_MAX:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// The binary under test and what it is: Millpond, or the Redis that `MILLPOND_TEST_SERVER` names (for the load
/// benchmark also `MILLPOND_TEST_LOAD_SERVER`).
pub fn millpond_binary() -> (Program, PathBuf) {
    match std::env::var("MILLPOND_TEST_SERVER").or_else(|_| std::env::var("MILLPOND_TEST_LOAD_SERVER")) {
        Ok(path) if path.contains("redis-server") => (Program::Redis, path.into()),
        Ok(path) => (Program::Millpond, path.into()),
        Err(_) => (Program::Millpond, env!("CARGO_BIN_EXE_millpond").into()),
    }
}

/// Whether a Redis stands in for Millpond: then what only Millpond has is not asked for.
pub fn is_stand_in() -> bool {
    millpond_binary().0 == Program::Redis
}

/// Whether there is a Redis to compare with. Without one, says so in a line; where CI is true, fails.
pub fn redis_or_explain() -> bool {
    if redis_binary().is_some() {
        return true;
    }
    let explanation = "differential tests did not run: redis-server is missing";
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{explanation}");
    eprintln!("{explanation}");
    false
}

/// Finds a port that nobody listens on, below those that outgoing connections get.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(7, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Makes a directory that is removed with its guard.
pub fn temporary_directory() -> TempDir {
    tempfile::Builder::new().prefix("millpond-it-").tempdir().expect("a temporary directory")
}

fn redis_binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|candidate| candidate.is_file())
}

/// Redis keeps what it acknowledged only with an append-only file; it knows no profiles, and its memory is not limited.
fn as_redis_flags(flags: &[&str]) -> Vec<String> {
    let mut kept: Vec<String> =
        ["--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"].map(String::from).to_vec();
    for pair in flags.chunks(2) {
        if !["--profile", "--maxmemory"].contains(&pair[0]) {
            kept.extend(pair.iter().map(|word| (*word).to_owned()));
        }
    }
    kept
}

fn answers_ping(port: u16) -> bool {
    // A connection to a port in the same range that nobody listens on can meet itself; PING tells.
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    drop(stream);
    let Ok(mut client) = Client::connect(port) else { return false };
    client.set_timeout(Duration::from_secs(5));
    matches!(client.ask(&["PING"]), Ok(Value::Simple(text)) if text == "PONG")
}

fn wait_for_exit(child: &mut Child, wait_max: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < wait_max {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}
