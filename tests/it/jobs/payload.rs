//! Jobs as Sidekiq, ActiveJob on it, and Resque write them, and some things in queues that are no jobs at all.

use crate::harness::Chance;

pub const CLASSES: [&str; 4] = ["ImportJob", "ExportJob", "MailJob", "ImageJob"];
pub const CUSTOMERS: u64 = 5;
pub const TENANTS: u64 = 4;
pub const AMOUNT_MAX: u64 = 100;
/// Queues that payloads name.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A payload, and what a person sees in it.
#[derive(Debug, Clone)]
pub struct Job {
    pub payload: Vec<u8>,
    pub class: Option<&'static str>,
    pub customer: Option<u64>,
    pub tenant: Option<u64>,
    /// An argument of the outermost payload, where WHERE sees it.
    pub amount: Option<u64>,
    pub jid: Option<String>,
    /// The queue that the payload names; empty for none.
    pub queue: &'static str,
}

impl Job {
    /// Makes a job whose payload no other number has.
    pub fn any(number: u64, chance: &mut Chance) -> Job {
        let class = *chance.pick(&CLASSES);
        let customer = chance.below(CUSTOMERS as usize) as u64;
        let tenant = chance.below(TENANTS as usize) as u64;
        let amount = chance.below(AMOUNT_MAX as usize) as u64;
        let queue = *chance.pick(&NAMES);
        let room = if chance.one_in(40) { 900 } else { chance.below(120) };
        let padding = "x".repeat(room);
        let jid = format!("{number:024x}");
        let mut job = Job {
            payload: Vec::new(),
            class: Some(class),
            customer: Some(customer),
            tenant: None,
            amount: None,
            jid: None,
            queue,
        };
        // A number and its text are the same to ARG.
        let customer = if chance.one_in(4) { format!("\"{customer}\"") } else { customer.to_string() };
        let head =
            format!(r#""queue":"{queue}","jid":"{jid}","retry":true,"created_at":1764000000.5,"pad":"{padding}""#);
        let text = match chance.below(10) {
            0..=5 => {
                job.amount = Some(amount);
                job.tenant = (!chance.one_in(4)).then_some(tenant);
                job.jid = Some(jid);
                let tenant = match job.tenant {
                    None => String::new(),
                    Some(tenant) if tenant % 2 == 0 => format!(r#","tenant_id":{tenant}"#),
                    Some(tenant) => format!(r#","cattr":{{"tenant_id":"{tenant}"}}"#),
                };
                let arguments = format!(r#"[{{"customer_id":{customer},"amount":{amount}}},"{number}"]"#);
                format!(r#"{{"class":"{class}","args":{arguments},{head}{tenant}}}"#)
            }
            6..=7 => {
                job.jid = Some(jid);
                let wrapper = r#""class":"ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper""#;
                let active = format!(
                    r#"{{"job_class":"{class}","job_id":"aj-{number}","queue_name":"{queue}","arguments":[{{"customer_id":{customer},"_aj_symbol_keys":["customer_id"]}}]}}"#
                );
                format!(r#"{{{wrapper},"wrapped":"{class}","args":[{active}],{head}}}"#)
            }
            8 => {
                job.amount = Some(amount);
                job.tenant = Some(tenant);
                job.queue = "";
                let argument = format!(r#"{{"customer_id":{customer},"amount":{amount},"shop_id":{tenant}}}"#);
                format!(r#"{{"class":"{class}","args":[{argument},{number},"{padding}"]}}"#)
            }
            _ => {
                job = Job { class: None, customer: None, queue: "", ..job };
                format!("{number} class ImportJob, not JSON {padding}")
            }
        };
        Job { payload: text.into_bytes(), ..job }
    }
}

/// A job of Sidekiq whose only argument says whose it is.
pub fn sidekiq(class: &str, number: usize, customer: usize) -> String {
    format!(
        r#"{{"class":"{class}","args":[{{"customer_id":{customer}}}],"queue":"default","jid":"{number:024x}","retry":true,"created_at":1764000000.5,"enqueued_at":1764000000.5}}"#
    )
}

/// The same as Resque writes it; `number` is there so that no two are equal.
pub fn resque(class: &str, number: usize, customer: usize) -> String {
    format!(r#"{{"class":"{class}","args":[{{"customer_id":{customer}}},{number}]}}"#)
}
