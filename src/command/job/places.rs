//! Places beside the queues where jobs wait: the sets of scheduled and failed jobs, and the lists of resque-scheduler with
//! their bookkeeping.
//!
//! resque-scheduler keeps a list `delayed:<seconds>` for every moment, the moments in the sorted set
//! `delayed_queue_schedule`, and for every payload a set `timestamps:<payload>` of the lists that it is in.

use bytes::Bytes;

use crate::job::{Field, Job};
use crate::keyspace::{Kind, Side, Slot};

use super::serve;
use crate::command::{Context, Stop};

/// Sorted sets of jobs in every namespace.
const SETS: [&[u8]; 2] = [b"schedule", b"retry"];
const DELAYED: &[u8] = b"delayed:";
const MOMENTS: &[u8] = b"delayed_queue_schedule";
const TIMESTAMPS: &[u8] = b"timestamps:";

/// A job of a place.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// In a list.
    pub ordinal: u64,
    /// In a sorted set.
    pub score: f64,
    pub item: Bytes,
}

/// Something in which jobs wait, told from its key.
#[derive(Debug)]
pub struct Place {
    pub key: Vec<u8>,
    namespace: Vec<u8>,
    pub kind: Kind,
    /// The moment of one of resque-scheduler's lists.
    moment: Option<Vec<u8>>,
    is_queue: bool,
}

impl Place {
    pub fn of(context: &Context, key: &[u8]) -> Place {
        let place = |namespace: &[u8], kind, moment: Option<&[u8]>, is_queue| Place {
            key: key.to_vec(),
            namespace: namespace.to_vec(),
            kind,
            moment: moment.map(<[u8]>::to_vec),
            is_queue,
        };
        if context.keys.queues.names.is_queue(key) {
            return place(crate::job::namespace_of(key).0, Kind::List, None, true);
        }
        if let Some(namespace) = SETS.iter().find_map(|set| key.strip_suffix(*set)) {
            return place(namespace, Kind::Zset, None, false);
        }
        match key.windows(DELAYED.len()).rposition(|window| window == DELAYED) {
            Some(at) => place(&key[..at], Kind::List, Some(&key[at + DELAYED.len()..]), false),
            None => place(b"", Kind::List, None, false),
        }
    }

    /// The queue that a job belongs to: the place itself, or what the payload says.
    pub fn queue_of(&self, job: &Job) -> Vec<u8> {
        if self.is_queue {
            return self.key.clone();
        }
        [&self.namespace[..], b"queue:", job.field(Field::Queue).unwrap_or_default().as_bytes()].concat()
    }

    /// Makes sure that what has to be written is in memory.
    pub fn prepare(&self, context: &mut Context, jobs: &[Waiting]) -> Result<(), Stop> {
        context.keys.find_kind(&self.key, self.kind)?;
        if self.moment.is_some() {
            context.keys.find_kind(&self.moments(), Kind::Zset)?;
            for job in jobs {
                context.keys.find_kind(&self.timestamps(&job.item), Kind::Set)?;
            }
        }
        Ok(())
    }

    /// Puts jobs back that were taken out: to the front, or where new ones come in.
    pub fn put_back(&self, context: &mut Context, jobs: &[Waiting], front: bool) -> Result<(), Stop> {
        let items: Vec<&[u8]> = jobs.iter().map(|job| &job.item[..]).collect();
        let slot = context.keys.find_or_create(&self.key, self.kind)?;
        if self.kind == Kind::Zset {
            let pairs: Vec<(&[u8], f64)> = jobs.iter().map(|job| (&job.item[..], job.score)).collect();
            return Ok(context.keys.put_scores(slot, &pairs)?);
        }
        let Some(moment) = &self.moment else {
            let pop_end = serve::pop_end(context, slot, items[0]);
            context.keys.restore(slot, if front { pop_end } else { pop_end.other() }, &items)?;
            // Another rule may want one of them.
            context.jobs.look_again(context.keys.object(slot).queue);
            return Ok(());
        };
        context.keys.push(slot, Side::Right, &items)?;
        let score = std::str::from_utf8(moment).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let moments = context.keys.find_or_create(&self.moments(), Kind::Zset)?;
        context.keys.put_scores(moments, &[(moment, score)])?;
        for item in items {
            let timestamps = context.keys.find_or_create(&self.timestamps(item), Kind::Set)?;
            context.keys.add_members(timestamps, &[&self.list_name(moment)])?;
        }
        Ok(())
    }

    /// Takes jobs out, with what the library has noted about them.
    pub fn take_out(&self, context: &mut Context, slot: Slot, jobs: &[Waiting]) -> Result<(), Stop> {
        if self.kind == Kind::Zset {
            let members: Vec<&[u8]> = jobs.iter().map(|job| &job.item[..]).collect();
            return Ok(context.keys.remove_names(slot, &members)?);
        }
        let ordinals: Vec<u64> = jobs.iter().map(|job| job.ordinal).collect();
        context.keys.banish(slot, &ordinals)?;
        let Some(moment) = &self.moment else { return Ok(()) };
        for job in jobs {
            if let Some(slot) = context.keys.find_kind(&self.timestamps(&job.item), Kind::Set)? {
                context.keys.remove_names(slot, &[&self.list_name(moment)])?;
            }
        }
        if context.keys.find(&self.key).is_none()
            && let Some(slot) = context.keys.find_kind(&self.moments(), Kind::Zset)?
        {
            context.keys.remove_names(slot, &[moment])?;
        }
        Ok(())
    }

    fn moments(&self) -> Vec<u8> {
        [&self.namespace[..], MOMENTS].concat()
    }

    fn timestamps(&self, item: &[u8]) -> Vec<u8> {
        [&self.namespace[..], TIMESTAMPS, item].concat()
    }

    /// A list's name as the library notes it: without the namespace.
    fn list_name(&self, moment: &[u8]) -> Vec<u8> {
        [DELAYED, moment].concat()
    }
}

/// The keys of the sets in which jobs wait, and of those that name delayed lists, in all namespaces that have queues.
pub fn all(context: &Context) -> Vec<Vec<u8>> {
    let database = context.keys.selected();
    let mut namespaces: Vec<&[u8]> =
        context.keys.queues.in_database(database).map(|(_, queue)| crate::job::namespace_of(&queue.key).0).collect();
    namespaces.extend([&b""[..], b"resque:"]);
    namespaces.sort_unstable();
    namespaces.dedup();
    let of =
        |namespace: &&[u8]| SETS.into_iter().chain([MOMENTS]).map(|set| [*namespace, set].concat()).collect::<Vec<_>>();
    namespaces.iter().flat_map(of).collect()
}

/// Some of the delayed lists that a set of moments names, from a rank on; none if the key is no such set.
pub fn delayed_lists(context: &mut Context, key: &[u8], rank: u64, count: usize) -> Result<Option<Vec<Vec<u8>>>, Stop> {
    let Some(namespace) = key.strip_suffix(MOMENTS) else { return Ok(None) };
    let Some(slot) = context.keys.find_kind(key, Kind::Zset)? else { return Ok(Some(Vec::new())) };
    let moments = context.keys.zset(slot).iter_from_rank(rank as usize).take(count);
    Ok(Some(moments.map(|(moment, _)| [namespace, DELAYED, moment].concat()).collect()))
}
