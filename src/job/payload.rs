//! A job as its payload tells it, read only as far as somebody asks.
//!
//! The first question scans the payload once and notes where the known fields stand; questions about ActiveJob look into
//! `args[0]` then. A payload that is not a JSON object has no fields: every reader answers nothing, and none can fail.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::active_job::{self, ActiveJob};
use super::fields::{Field, Fields};
use super::path::Path;
use super::tenant;
use super::text::Text;
use super::time;
use super::value::Value;

/// WHERE reads whole documents, and only up to this size: one of a megabyte already takes some ten milliseconds.
pub const DOCUMENT_BYTES_MAX: usize = 1_000_000;

/// A longer time is nobody's.
const DURATION_SECONDS_MAX: f64 = 1e10;

/// See the module. Answers are kept, so it is made once for a payload and asked as often as one likes.
#[derive(Debug)]
pub struct Job<'a> {
    payload: &'a [u8],
    fields: Fields,
    /// The class that a wrapper of ActiveJob stands for.
    wrapped: OnceCell<Option<Cow<'a, str>>>,
    active: OnceCell<Option<ActiveJob<'a>>>,
    document: OnceCell<Option<Box<serde_json::Value>>>,
}

impl<'a> Job<'a> {
    /// Takes any bytes; reads none of them yet.
    pub fn new(payload: &'a [u8]) -> Job<'a> {
        Job {
            payload,
            fields: Fields::unread(),
            wrapped: OnceCell::new(),
            active: OnceCell::new(),
            document: OnceCell::new(),
        }
    }

    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Tells whether the payload is one that fields can be read from.
    pub fn has_fields(&self) -> bool {
        self.fields.are_there(self.payload)
    }

    /// The class that does the work: of ActiveJob's wrapper the wrapped one, of a mail `Mailer#method`.
    pub fn class(&self) -> Option<Cow<'a, str>> {
        let class = self.text(Field::Class).or_else(|| self.text(Field::Wrapped))?;
        if !active_job::is_wrapper(class) {
            return class.decode();
        }
        match self.wrapped.get_or_init(|| self.read_wrapped()).as_ref() {
            Some(Cow::Borrowed(name)) => Some(Cow::Borrowed(name)),
            Some(Cow::Owned(name)) => Some(Cow::Owned(name.clone())),
            None => class.decode(),
        }
    }

    /// What [`class`](Self::class) would be if it is anything, found cheaply; nothing if it has to be asked in full.
    pub(super) fn early_class(&self) -> Option<&'a [u8]> {
        self.fields.early_class(self.payload).filter(|class| !active_job::is_wrapper(Text::new(class, true)))
    }

    /// The jid, else ActiveJob's id. Resque has neither.
    pub fn id(&self) -> Option<Cow<'a, str>> {
        self.jid().or_else(|| self.active_job()?.id.string()?.decode())
    }

    /// The class of the error by which it has failed, as Sidekiq and Resque write it.
    pub fn error_class(&self) -> Option<Cow<'a, str>> {
        let of_sidekiq = self.text(Field::ErrorClass).and_then(|class| class.decode());
        of_sidekiq.or_else(|| self.fields.whole(self.payload)?.member("exception")?.string()?.decode())
    }

    /// Of a note about a job, such as that of a failure: the job, which stands in it whole or as a string.
    pub fn carried(&self) -> Option<Cow<'a, [u8]>> {
        let payload = self.fields.whole(self.payload)?.member("payload")?;
        match payload.string() {
            Some(text) => Some(match text.decode()? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            None => payload.is_object().then(|| Cow::Borrowed(payload.bytes())),
        }
    }

    /// Says that two payloads are the same job: they have one id, or having none the same class and arguments.
    pub fn identity(&self) -> u64 {
        let hash = xxhash_rust::xxh3::xxh3_64;
        if let Some(id) = self.id() {
            return Job::identity_of(&id);
        }
        match (self.class(), self.arguments()) {
            (Some(class), Some(arguments)) => hash(class.as_bytes()) ^ hash(arguments).rotate_left(1),
            _ => hash(self.payload),
        }
    }

    /// The identity of jobs with an id.
    pub fn identity_of(id: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(id.as_bytes())
    }

    /// Tells whether this is the jid, or the id that ActiveJob gave.
    pub fn has_id(&self, id: &str) -> bool {
        self.text(Field::Jid).is_some_and(|jid| jid.is(id))
            || self.active_job().is_some_and(|active| active.id.string().is_some_and(|text| text.is(id)))
    }

    /// The jid and the id that ActiveJob gave, as far as they are there.
    pub fn ids(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let active = self.active_job().and_then(|active| active.id.string()?.decode());
        [self.jid(), active].into_iter().flatten()
    }

    /// Tells whether there is a jid, which is how a job of Sidekiq is told from one of Resque.
    pub fn has_jid(&self) -> bool {
        self.text(Field::Jid).is_some()
    }

    /// The JSON array of the arguments; of an ActiveJob those that its class takes.
    pub fn arguments(&self) -> Option<&'a [u8]> {
        self.argument_list().map(Value::bytes)
    }

    pub(super) fn argument_list(&self) -> Option<Value<'a>> {
        match self.active_job() {
            Some(active) => active.arguments,
            None => self.native_arguments(),
        }
    }

    /// The arguments that can be read. Of an encrypted job that is all but the last one, which Sidekiq Enterprise encrypts.
    pub(super) fn readable_arguments(&self) -> impl Iterator<Item = Value<'a>> {
        let hides_last = self.is_encrypted() && self.active_job().is_none();
        let mut elements = self.argument_list().into_iter().flat_map(Value::elements).peekable();
        std::iter::from_fn(move || elements.next().filter(|_| !hides_last || elements.peek().is_some()))
    }

    /// When the job was made, in Unix milliseconds.
    pub fn created_ms(&self) -> Option<u64> {
        self.time(Field::CreatedAt)
            .or_else(|| self.time(Field::QueueTime))
            .or_else(|| self.active_enqueued_ms())
            .or_else(|| self.time(Field::EnqueuedAt))
    }

    /// When the job was last put into a queue, in Unix milliseconds; a retry renews it.
    pub fn enqueued_ms(&self) -> Option<u64> {
        self.time(Field::EnqueuedAt).or_else(|| self.time(Field::QueueTime)).or_else(|| self.active_enqueued_ms())
    }

    /// What the job itself asks for: to begin within so long.
    pub fn slo_ms(&self) -> Option<u64> {
        self.duration_ms(Field::Slo)
    }

    /// Its share relative to 1 when not everything can be kept.
    pub fn weight(&self) -> Option<f64> {
        self.field(Field::Weight)?.parse().ok()
    }

    /// When it is not worth doing any more, in Unix milliseconds.
    pub fn expires_ms(&self) -> Option<u64> {
        self.enqueued_ms()?.checked_add(self.duration_ms(Field::ExpiresIn)?)
    }

    /// A time in seconds, or with its unit.
    fn duration_ms(&self, field: Field) -> Option<u64> {
        let text = self.field(field)?;
        match text.parse::<f64>() {
            Ok(seconds) => (seconds > 0.0 && seconds < DURATION_SECONDS_MAX).then_some((seconds * 1000.0) as u64),
            Err(_) => time::parse_duration_ms(&text).ok(),
        }
    }

    /// The tenant by the default search: `cattr`, then `tenant_id`, `apartment`, `acts_as_tenant`, then the first hash among
    /// the arguments.
    pub fn tenant(&self) -> Option<Cow<'a, str>> {
        tenant::find(self).map(|(tenant, _)| tenant)
    }

    /// As [`tenant`](Self::tenant), with the name of the place where it was found.
    pub fn tenant_and_place(&self) -> Option<(Cow<'a, str>, &'static str)> {
        tenant::find(self)
    }

    /// The lock of sidekiq-unique-jobs: `lock_digest`, or `unique_digest` as it was called before version 7.
    pub fn lock_digest(&self) -> Option<Cow<'a, str>> {
        self.text(Field::LockDigest).or_else(|| self.text(Field::UniqueDigest))?.decode()
    }

    /// The batch of Sidekiq Pro that the job is part of.
    pub fn batch(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Bid)?.decode()
    }

    /// Tells whether somebody keeps a lock for this job.
    pub fn is_unique(&self) -> bool {
        [Field::LockDigest, Field::UniqueDigest, Field::UniqueFor].iter().any(|field| self.is_set(*field))
    }

    /// Tells whether the arguments are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.value(Field::Encrypt).is_some_and(Value::is_true)
    }

    /// What a person would write for the value of a top-level field: the text of a string, number or boolean.
    pub fn field(&self, field: Field) -> Option<Cow<'a, str>> {
        self.value(field)?.meaning()
    }

    /// What a path of a BY clause finds in this job.
    pub fn at_path(&self, path: &Path) -> Option<String> {
        path.find(self)
    }

    /// The whole payload as the one element of an array, for WHERE.
    pub(super) fn document(&self) -> Option<&serde_json::Value> {
        self.document.get_or_init(|| self.read_document()).as_deref()
    }

    /// The whole payload, if it is a job.
    pub(super) fn whole(&self) -> Option<Value<'a>> {
        self.fields.whole(self.payload)
    }

    pub(super) fn value(&self, field: Field) -> Option<Value<'a>> {
        self.fields.value(self.payload, field)
    }

    pub(super) fn cattrs(&self) -> impl Iterator<Item = Value<'a>> {
        self.fields.cattrs(self.payload)
    }

    /// What ActiveJob put into `args[0]`, if this is one of its jobs.
    pub(super) fn active_job(&self) -> Option<&ActiveJob<'a>> {
        self.active.get_or_init(|| self.read_active_job()).as_ref()
    }

    fn text(&self, field: Field) -> Option<Text<'a>> {
        self.value(field)?.string()
    }

    fn jid(&self) -> Option<Cow<'a, str>> {
        self.text(Field::Jid)?.decode()
    }

    fn native_arguments(&self) -> Option<Value<'a>> {
        self.value(Field::Args).filter(|value| value.is_array())
    }

    fn is_set(&self, field: Field) -> bool {
        self.value(field).is_some_and(|value| !matches!(value.bytes(), b"null" | b"false"))
    }

    fn time(&self, field: Field) -> Option<u64> {
        time::parse_time_ms(&self.value(field)?.meaning()?)
    }

    fn active_enqueued_ms(&self) -> Option<u64> {
        time::parse_time_ms(&self.active_job()?.enqueued_at?.meaning()?)
    }

    fn read_active_job(&self) -> Option<ActiveJob<'a>> {
        if !active_job::is_wrapper(self.text(Field::Class)?) {
            return None;
        }
        ActiveJob::read(self.native_arguments()?.elements().next()?)
    }

    fn read_wrapped(&self) -> Option<Cow<'a, str>> {
        let wrapped = self.text(Field::Wrapped).or_else(|| self.active_job()?.class.string())?;
        if active_job::is_mail_delivery(wrapped)
            && let Some(mail) = self.active_job().and_then(ActiveJob::mail)
        {
            return Some(Cow::Owned(mail));
        }
        wrapped.decode()
    }

    fn read_document(&self) -> Option<Box<serde_json::Value>> {
        if self.payload.len() > DOCUMENT_BYTES_MAX || !self.has_fields() {
            return None;
        }
        let document = serde_json::from_slice(self.payload).ok()?;
        Some(Box::new(serde_json::Value::Array(vec![document])))
    }
}

#[cfg(test)]
mod tests;
