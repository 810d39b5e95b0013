//! Jobs that the server answers for as they are kept: a list for each database, in the server's own, has a record of each.
//!
//! ```text
//! version u8 · kind u8 · identity · attempt · at_ms · lease_ms · queue · token · worker · cursor · count · (limit · key)… ·
//! 0, or 1 · tenant · class · estimate_ms · payload
//! ```
//! Numbers are varints, and all but the payload, which is the rest, have their length before them.

use std::borrow::Cow;

use crate::keyspace::layout::{Corrupt, Reader, put_bytes, put_varint};
use crate::sched::{Account, Charge, Gate, HeldBy, Lease};

const VERSION: u8 = 1;

/// What a record says of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A worker has had it since `at_ms`.
    Leased,
    /// It goes to its queue at `at_ms`.
    Delayed,
    /// It has come back to its queue after so many attempts. The payload is not here but there.
    Returned,
    /// An ordinary pop has handed it out at `at_ms`. Its worker has the payload.
    Popped,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    pub stage: Stage,
    pub identity: u64,
    pub attempt: u32,
    pub at_ms: u64,
    pub lease_ms: u64,
    pub queue: Cow<'a, [u8]>,
    pub token: Cow<'a, str>,
    pub worker: Cow<'a, str>,
    /// What a worker has left for whoever tries the job next; empty for nothing.
    pub cursor: Cow<'a, [u8]>,
    /// The limits that it counts for while it runs.
    pub charges: Vec<Charge>,
    /// Who is charged for the time that it runs, if somebody is.
    pub account: Option<Account>,
    pub payload: Cow<'a, [u8]>,
}

impl<'a> Record<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.payload.len() + self.cursor.len());
        out.push(VERSION);
        out.push(match self.stage {
            Stage::Leased => 1,
            Stage::Delayed => 2,
            Stage::Returned => 3,
            Stage::Popped => 4,
        });
        put_varint(&mut out, self.identity);
        put_varint(&mut out, u64::from(self.attempt));
        put_varint(&mut out, self.at_ms);
        put_varint(&mut out, self.lease_ms);
        put_bytes(&mut out, &self.queue);
        put_bytes(&mut out, self.token.as_bytes());
        put_bytes(&mut out, self.worker.as_bytes());
        put_bytes(&mut out, &self.cursor);
        put_varint(&mut out, self.charges.len() as u64);
        for Charge { gate, key } in &self.charges {
            put_varint(&mut out, gate.limit);
            // A limit without keys is told from one of which this is the key.
            put_bytes(&mut out, if gate.key == 0 { b"" } else { key.as_bytes() });
        }
        match &self.account {
            None => out.push(0),
            Some(Account { tenant, class, estimate_ms }) => {
                out.push(1);
                put_bytes(&mut out, tenant.as_bytes());
                put_varint(&mut out, *class);
                put_varint(&mut out, *estimate_ms as u64);
            }
        }
        out.extend_from_slice(&self.payload);
        out
    }

    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, Corrupt> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Corrupt("a record of a job is of an unknown version"));
        }
        let stage = match reader.byte()? {
            1 => Stage::Leased,
            2 => Stage::Delayed,
            3 => Stage::Returned,
            4 => Stage::Popped,
            _ => return Err(Corrupt("a record of a job is of an unknown kind")),
        };
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Corrupt("a record of a job is no text"));
        Ok(Record {
            stage,
            identity: reader.varint()?,
            attempt: reader.varint()?.try_into().map_err(|_| Corrupt("number too long"))?,
            at_ms: reader.varint()?,
            lease_ms: reader.varint()?,
            queue: reader.bytes()?.into(),
            token: text(reader.bytes()?)?.into(),
            worker: text(reader.bytes()?)?.into(),
            cursor: reader.bytes()?.into(),
            charges: (0..reader.varint()?)
                .map(|_| {
                    let (limit, key) = (reader.varint()?, text(reader.bytes()?)?);
                    Ok(Charge { gate: Gate::new(limit, Some(key).filter(|key| !key.is_empty())), key: key.into() })
                })
                .collect::<Result<_, Corrupt>>()?,
            account: match reader.byte()? {
                0 => None,
                _ => Some(Account {
                    tenant: text(reader.bytes()?)?.into(),
                    class: reader.varint()?,
                    estimate_ms: reader.varint()? as f32,
                }),
            },
            payload: reader.rest().into(),
        })
    }

    /// The job as the scheduler knows it. A lease begins anew, as nobody can have made it longer meanwhile.
    pub fn lease(&self, now_ms: u64, run_max_ms: u64) -> Lease {
        let (due_ms, held_by) = match self.stage {
            Stage::Popped => {
                (self.at_ms + run_max_ms, HeldBy::Popped { worker: (*self.worker).into(), since_ms: self.at_ms })
            }
            Stage::Leased => {
                let (name, since_ms, lease_ms) = ((*self.worker).into(), self.at_ms, self.lease_ms);
                (now_ms + lease_ms, HeldBy::Worker { name, since_ms, lease_ms, progress: None })
            }
            _ => (self.at_ms, HeldBy::Delay),
        };
        let (token, queue) = ((*self.token).into(), (*self.queue).into());
        let gates = self.charges.iter().map(|charge| charge.gate).collect();
        Lease {
            token,
            queue,
            identity: self.identity,
            attempt: self.attempt,
            due_ms,
            held_by,
            gates,
            account: self.account.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_and_none_from_fewer_bytes() {
        let record = Record {
            stage: Stage::Leased,
            identity: u64::MAX,
            attempt: 3,
            at_ms: 1_700_000_000_000,
            lease_ms: 60_000,
            queue: b"queue:\xff".into(),
            token: "5f2c9a#3".into(),
            worker: "w-1".into(),
            cursor: b"\0half".into(),
            charges: ["", "shop 7"]
                .map(|key| Charge { gate: Gate::new(9, Some(key).filter(|key| !key.is_empty())), key: key.into() })
                .into(),
            account: Some(Account { tenant: "42".into(), class: 7, estimate_ms: 150.0 }),
            payload: Cow::Borrowed(b""),
        };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        (0..bytes.len()).for_each(|cut| assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}"));
        let longer = Record { payload: b"a job".into(), ..record };
        assert_eq!(Record::decode(&longer.encode()).map(|read| read.payload.into_owned()), Ok(b"a job".to_vec()));
        assert_eq!(longer.lease(5, 0).due_ms, 60_005);
    }
}
