//! What Millpond knows about jobs.
//!
//! Redis sees a list of strings. An element of a queue is a *job* besides: a JSON object as Sidekiq, Resque or ActiveJob
//! on either writes it. This module reads such payloads ([`Job`]), selects among them ([`Predicate`], and [`Matcher`] for
//! many at once), finds the key of a BY clause in them ([`Path`]), tells which lists are queues ([`Queues`]), and keeps in
//! memory what a part of a backlog on disk holds ([`Summary`]). What each field means stands in the contract of the
//! `JOB.*` commands.
//!
//! ```text
//!  payload ──▶ scan ──▶ fields ──▶ payload::Job ──▶ predicate ──▶ matcher
//!               one pass, spans       │  asks on demand   ▲
//!                                     ├─ active_job       └── summary: what can be said without reading
//!                                     ├─ tenant
//!                                     └─ path
//! ```
//!
//! What is not one JSON object in UTF-8, is nested deeper than [`DEPTH_MAX`], or names a top-level key twice, is a job
//! without fields. No payload is an error, none makes the reader recurse or take more than linear time (sorting the names
//! of very many unknown keys apart), and nothing is built from it except for WHERE.
//!
//! What is absent: any clock (times come in as arguments), any I/O, any chance; any knowledge of commands, keys' values or
//! rules. A tenant that a rule finds BY a path is not known here either: the rule asks for the path.

mod active_job;
mod fields;
mod matcher;
mod path;
mod pattern;
mod payload;
mod predicate;
mod queues;
mod scan;
mod summary;
mod tenant;
mod text;
mod time;
mod value;

pub use self::fields::Field;
pub use self::matcher::Matcher;
pub use self::path::{PATH_BYTES_MAX, Path, PathError};
pub use self::pattern::Pattern;
pub use self::payload::{DOCUMENT_BYTES_MAX, Job};
pub use self::predicate::{IDS_MAX, Predicate, PredicateError, WHERE_BYTES_MAX};
pub use self::queues::{Queues, namespace_of, queue_matches};
pub use self::scan::DEPTH_MAX;
pub use self::summary::{Damaged, Holding, SUMMARY_VERSION, Summary};
pub use self::time::{DurationError, format_duration, format_time_ms, parse_duration_ms, parse_time_ms};
