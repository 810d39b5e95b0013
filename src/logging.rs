//! Log lines: where they go and which are shown, in Redis' four levels. A leaf but for the settings' `LogLevel`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::LogLevel;

type Reload = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// What CONFIG SET loglevel turns.
static FILTER: OnceLock<Reload> = OnceLock::new();

/// Begins to log, to standard error or at the end of a file; called once, at the start.
pub fn start(level: LogLevel, file: Option<&Path>) -> io::Result<()> {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    match file {
        Some(path) => registry.with(lines.with_ansi(false).with_writer(open(path)?)).init(),
        None => registry.with(lines.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr)).init(),
    }
    let _ = FILTER.set(handle);
    Ok(())
}

/// Shows more or fewer lines from now on.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = FILTER.get() {
        // It fails only when the subscriber is gone, and then nobody reads the lines.
        let _ = handle.reload(filter(level));
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Redis' `verbose` is our debug and its `debug` our trace. The libraries below only tell of what went wrong.
fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(match level {
        LogLevel::Debug => "warn,millpond=trace",
        LogLevel::Verbose => "warn,millpond=debug",
        LogLevel::Notice => "warn,millpond=info",
        LogLevel::Warning => "warn",
    })
}
