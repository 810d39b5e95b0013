//! The `millpond` program: settings → shard → server, and the exit codes.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command};
use millpond::clock::Clock;
use millpond::metrics::Metrics;
use millpond::settings::{self, MemoryShare, Settings};
use millpond::shard::Shard;
use millpond::shard::directory::Directory;
use millpond::{logging, server};
use tracing::{error, info};

/// Something failed; the log or standard error says what.
const FAILURE: u8 = 1;
/// A setting cannot be; the same code as for a flag that clap refuses.
const BAD_SETTING: u8 = 2;

const SOURCES: &str = "Each setting is also a key of the file given by --config, and an environment variable: \
    --appendfsync is MILLPOND_APPENDFSYNC. A flag beats the environment, the environment beats the file.";

/// What a container's health check waits for the answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let matches = command().get_matches();
    let flags = matches.subcommand().map_or(&matches, |(_, flags)| flags);
    if matches.subcommand_name() == Some("examples") {
        print!("{}", command_examples());
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::load(flags, std::env::vars_os()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("millpond: {error}");
            return ExitCode::from(BAD_SETTING);
        }
    };
    let done = match matches.subcommand_name() {
        Some("ping") => ping(flags, &settings),
        _ => serve(settings),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("millpond: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// Describes the command line.
fn command() -> Command {
    Command::new("millpond")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A job-queue server that speaks the Redis protocol and keeps its backlog on disk.")
        .after_help(SOURCES)
        .after_long_help(format!("{SOURCES}\n\n{}", settings::accepted_sentence("")))
        .args_override_self(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .args(settings::arguments())
        .subcommand(ping_command())
        .subcommand(Command::new("examples").hide(true).about("Prints every command's example as a line of JSON"))
}

/// Describes `millpond ping`, which takes from the same sources as the server, so that it finds it without flags.
fn ping_command() -> Command {
    let flags = ["port", "unixsocket", "requirepass"]
        .map(|name| settings::argument(settings::declared(name).expect("it is declared")));
    Command::new("ping")
        .about("Asks a running server whether it is well: exit code 0 if it answers within a second")
        .args_override_self(true)
        .arg(settings::config_argument())
        .arg(
            Arg::new("host").long("host").value_name("HOST").help("Address of the server [default: the first of bind]"),
        )
        .args(flags)
}

/// Runs the server until it is told to stop, and gives the exit code.
fn serve(mut settings: Settings) -> anyhow::Result<u8> {
    logging::start(settings.loglevel, settings.logfile.as_deref()).with_context(|| {
        format!("cannot open the log file {}", settings.logfile.clone().unwrap_or_default().display())
    })?;
    end_at_panic();
    let directory = Directory::open(&settings.dir)?;
    settings.dir = directory.path().to_owned();
    info!(version = env!("CARGO_PKG_VERSION"), process = std::process::id(), dir = %settings.dir.display(), "starting");
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::default());
    let limits = Arc::new(server::Limits::default());
    let options = server::Options {
        bind: settings.bind.clone(),
        port: settings.port,
        unixsocket: settings.unixsocket.clone(),
        unixsocketperm: settings.unixsocketperm.0,
        tcp_backlog: settings.tcp_backlog,
    };
    if settings.metrics_port != 0 {
        let options = server::Options { port: settings.metrics_port, unixsocket: None, ..options.clone() };
        metrics.page.want();
        server::serve_page(&options, metrics.clone()).context("cannot serve the metrics")?;
    }
    let mut shard = Shard::open(settings, clock, metrics.clone())?;
    let told = limits.clone();
    shard.set_on_settings(Box::new(move |settings| apply(settings, &told)));
    let code = server::run(shard, &options, limits, metrics, clock).context("cannot serve")?;
    Ok(u8::try_from(code).unwrap_or(FAILURE))
}

/// Ends the process at the first panic in whatever thread: what a command has half changed must neither be served nor
/// saved. All that was answered is in the log, and the next start brings it back.
fn end_at_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        error!(%panic, "this is a bug; the server ends, what was answered is in the log");
        std::process::abort();
    }));
}

/// Hands on what CONFIG SET may change outside of the data.
fn apply(settings: &Settings, limits: &server::Limits) {
    logging::set_level(settings.loglevel);
    limits.maxclients.store(u64::from(settings.maxclients), Relaxed);
    server::fit_to_open_files(limits);
    limits.timeout_s.store(u64::from(settings.timeout_seconds), Relaxed);
    limits.tcp_keepalive_s.store(u64::from(settings.tcp_keepalive_seconds), Relaxed);
    limits.proto_max_bulk_bytes.store(settings.proto_max_bulk_len_bytes, Relaxed);
    limits.protected.store(settings.protected_mode && settings.requirepass.is_none(), Relaxed);
    // One value and one reply of the largest size must fit, whatever the share says.
    let share = settings.share_bytes(MemoryShare::Clients);
    limits.clients_bytes.store(share.max(settings.value_bytes_max() + settings.reply_bytes_max()), Relaxed);
}

/// Gives every declared command's example, a line of JSON each.
fn command_examples() -> String {
    millpond::command::examples()
}

/// Sends PING, after AUTH if there is a password, and says what is wrong with the answer.
fn ping(flags: &ArgMatches, settings: &Settings) -> anyhow::Result<u8> {
    let clock = Clock::start();
    let request = ping_request(settings.requirepass.as_deref());
    // An address on the command line means TCP, whatever else the server listens on.
    let address_given = ["host", "port"].iter().any(|name| flags.contains_id(name));
    let answers = match &settings.unixsocket {
        Some(path) if !address_given => {
            let socket = UnixStream::connect(path).with_context(|| format!("cannot reach {}", path.display()))?;
            socket.set_write_timeout(Some(PING_TIMEOUT))?;
            let limit = |socket: &UnixStream, left| socket.set_read_timeout(Some(left));
            exchange(socket, &request, &clock, limit)?
        }
        _ => {
            let socket = connect(flags, settings)?;
            socket.set_write_timeout(Some(PING_TIMEOUT))?;
            let limit = |socket: &TcpStream, left| socket.set_read_timeout(Some(left));
            exchange(socket, &request, &clock, limit)?
        }
    };
    match answers.lines().next_back() {
        Some("+PONG") => Ok(0),
        _ => bail!("the server does not answer PONG but {:?}", answers.trim_end()),
    }
}

fn connect(flags: &ArgMatches, settings: &Settings) -> anyhow::Result<TcpStream> {
    let host = match flags.get_one::<String>("host").or(settings.bind.first()).map(String::as_str) {
        None | Some("*" | "0.0.0.0") => "127.0.0.1",
        Some("-::*" | "::*" | "::") => "::1",
        Some(host) => host.trim_start_matches('-'),
    };
    let address = (host, settings.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("no address is known for {host}"))?;
    TcpStream::connect_timeout(&address, PING_TIMEOUT).with_context(|| format!("cannot reach {address}"))
}

fn ping_request(password: Option<&str>) -> Vec<u8> {
    let mut request = Vec::new();
    if let Some(password) = password {
        request.extend(format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len()).into_bytes());
    }
    request.extend(b"*1\r\n$4\r\nPING\r\n");
    request
}

/// Writes the request and reads until the last answer's line is whole, an error has come, or the time is over.
fn exchange<S: Read + Write>(
    mut socket: S,
    request: &[u8],
    clock: &Clock,
    limit: impl Fn(&S, Duration) -> std::io::Result<()>,
) -> anyhow::Result<String> {
    socket.write_all(request).context("cannot send")?;
    let wanted = if request.starts_with(b"*2") { 2 } else { 1 };
    let mut answers = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let whole = answers.ends_with(b"\r\n") && answers.split(|&byte| byte == b'\n').count() > wanted;
        if whole || answers.starts_with(b"-") && answers.ends_with(b"\r\n") {
            return Ok(String::from_utf8_lossy(&answers).into_owned());
        }
        let left = PING_TIMEOUT.saturating_sub(clock.now().mono);
        if left.is_zero() {
            bail!("no answer within a second");
        }
        limit(&socket, left)?;
        match socket.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(n) => answers.extend(&buffer[..n]),
            Err(_) => bail!("no answer within a second"),
        }
    }
}
