//! What ActiveJob puts into the one argument of its wrapper, on Sidekiq and Resque alike.

use super::text::Text;
use super::value::Value;

/// Classes that workers run and that only carry an ActiveJob.
const WRAPPERS: [&str; 3] = [
    "Sidekiq::ActiveJob::Wrapper",
    "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper",
    "ActiveJob::QueueAdapters::ResqueAdapter::JobWrapper",
];

/// ActiveJobs that all mails share; which mail it is stands in their arguments.
const MAIL_DELIVERIES: [&str; 3] =
    ["ActionMailer::MailDeliveryJob", "ActionMailer::DeliveryJob", "ActionMailer::Parameterized::DeliveryJob"];

/// See the module. An absent `id` or `class` is null.
#[derive(Debug, Clone)]
pub struct ActiveJob<'a> {
    /// The hash itself.
    pub hash: Value<'a>,
    pub class: Value<'a>,
    pub id: Value<'a>,
    pub arguments: Option<Value<'a>>,
    pub enqueued_at: Option<Value<'a>>,
}

impl<'a> ActiveJob<'a> {
    /// Reads the members that are asked for; of those that stand twice the last, as Ruby does.
    pub fn read(hash: Value<'a>) -> Option<ActiveJob<'a>> {
        if !hash.is_object() {
            return None;
        }
        let null = Value::new(b"null", true);
        let mut read = ActiveJob { hash, class: null, id: null, arguments: None, enqueued_at: None };
        for (key, value) in hash.members() {
            if key.is("job_class") {
                read.class = value;
            } else if key.is("job_id") {
                read.id = value;
            } else if key.is("arguments") {
                read.arguments = Some(value).filter(|value| value.is_array());
            } else if key.is("enqueued_at") {
                read.enqueued_at = Some(value);
            }
        }
        Some(read)
    }

    /// The mail that a delivery job sends, `UserMailer#welcome`.
    pub fn mail(&self) -> Option<String> {
        let mut arguments = self.arguments?.elements();
        let (mailer, method) = (arguments.next()?.string()?, arguments.next()?.string()?);
        Some(format!("{}#{}", mailer.decode()?, method.decode()?))
    }
}

#[inline]
pub fn is_wrapper(class: Text<'_>) -> bool {
    WRAPPERS.iter().any(|name| class.is(name))
}

pub fn is_mail_delivery(class: Text<'_>) -> bool {
    MAIL_DELIVERIES.iter().any(|name| class.is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(hash: &str, mail: Option<&str>) {
        let read = ActiveJob::read(Value::new(hash.as_bytes(), false));
        assert_eq!(read.and_then(|active| active.mail()).as_deref(), mail, "{hash}");
    }

    #[test]
    fn a_mail_is_named_by_its_first_two_arguments() {
        check(r#"{"arguments":["UserMailer","welcome","deliver_now",{"args":[]}]}"#, Some("UserMailer#welcome"));
        check(r#"{"arguments":["UserMailer"]}"#, None);
        check(r#"{"arguments":[1,"welcome"]}"#, None);
        check(r#"{"arguments":{}}"#, None);
        check("[]", None);
    }

    #[test]
    fn the_last_of_two_members_counts() {
        let hash = Value::new(br#"{"job_id":"a","job_id":"b"}"#, true);
        assert_eq!(ActiveJob::read(hash).unwrap().id.meaning().as_deref(), Some("b"));
    }
}
