//! The stored form of a summary. It is on people's disks.
//!
//! `version u8 · jobs · without fields · bytes · created · enqueued · classes · tenants · expiring`, the last since version 2,
//! where times are `known · oldest · newest − oldest`, names `count · (length · name · jobs)… · other`, and all numbers
//! varints.

use super::names::Names;
use super::{NAME_BYTES_MAX, NAMED_MAX, Summary, Times};

/// Version of the stored form.
pub const SUMMARY_VERSION: u8 = 2;
/// One that does not tell which jobs expire.
const WITHOUT_EXPIRING: u8 = 1;

/// Bytes that are not a stored summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored summary is damaged: {0}")]
pub struct Damaged(pub &'static str);

impl Summary {
    /// Writes the stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.expiring.is_some() { SUMMARY_VERSION } else { WITHOUT_EXPIRING }];
        for number in [self.jobs, self.without_fields, self.bytes] {
            put_varint(&mut out, u64::from(number));
        }
        for times in [&self.created, &self.enqueued] {
            put_varint(&mut out, u64::from(times.known));
            put_varint(&mut out, times.oldest_ms);
            put_varint(&mut out, times.newest_ms - times.oldest_ms);
        }
        for names in [&self.classes, &self.tenants] {
            put_varint(&mut out, names.len() as u64);
            for (name, count) in names.iter() {
                put_varint(&mut out, name.len() as u64);
                out.extend_from_slice(name.as_bytes());
                put_varint(&mut out, u64::from(count));
            }
            put_varint(&mut out, u64::from(names.other));
        }
        if let Some(expiring) = self.expiring {
            put_varint(&mut out, u64::from(expiring));
        }
        out
    }

    /// Reads the stored form, and checks everything that could mislead later.
    pub fn decode(bytes: &[u8]) -> Result<Summary, Damaged> {
        let (version, rest) = bytes.split_first().ok_or(Damaged("empty"))?;
        if ![SUMMARY_VERSION, WITHOUT_EXPIRING].contains(version) {
            return Err(Damaged("of an unknown version"));
        }
        let mut reader = Reader { rest };
        let (jobs, without_fields, total_bytes) = (reader.count()?, reader.count()?, reader.count()?);
        if without_fields > jobs {
            return Err(Damaged("more payloads without fields than jobs"));
        }
        let (created, enqueued) = (reader.times(jobs)?, reader.times(jobs)?);
        let (classes, tenants) = (reader.names(jobs)?, reader.names(jobs)?);
        let expiring = if *version == WITHOUT_EXPIRING { None } else { Some(reader.count()?) };
        if !reader.rest.is_empty() {
            return Err(Damaged("something stands behind it"));
        }
        Ok(Summary { jobs, without_fields, bytes: total_bytes, created, enqueued, expiring, classes, tenants })
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn times(&mut self, jobs: u32) -> Result<Times, Damaged> {
        let (known, oldest_ms, span_ms) = (self.count()?, self.varint()?, self.varint()?);
        let newest_ms = oldest_ms.checked_add(span_ms).ok_or(Damaged("time too late"))?;
        if known > jobs || known == 0 && newest_ms > 0 {
            return Err(Damaged("times of jobs that are not there"));
        }
        Ok(Times { known, oldest_ms, newest_ms })
    }

    fn names(&mut self, jobs: u32) -> Result<Names, Damaged> {
        let count = self.varint()?;
        if count > NAMED_MAX as u64 {
            return Err(Damaged("too many names"));
        }
        let (mut named, mut sum) = (Vec::with_capacity(count as usize), 0u64);
        for _ in 0..count {
            let length = self.varint()?;
            if length > NAME_BYTES_MAX as u64 {
                return Err(Damaged("name too long"));
            }
            let name = std::str::from_utf8(self.take(length as usize)?).map_err(|_| Damaged("name is not UTF-8"))?;
            named.push((name, self.count()?));
            sum += u64::from(named[named.len() - 1].1);
        }
        let other = self.count()?;
        if sum + u64::from(other) > u64::from(jobs) {
            return Err(Damaged("more names than jobs"));
        }
        Ok(Names::from_counts(named.into_iter(), other))
    }

    fn count(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.varint()?).map_err(|_| Damaged("count too large"))
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged("number too long"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Damaged("ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }
}
