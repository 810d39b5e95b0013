use proptest::prelude::*;

use super::*;

const SIDEKIQ_8: &str = r#"{"retry":true,"queue":"default","class":"ImportJob","args":[{"customer_id":123,"note":"long"}],"jid":"b4a577edbccf1d805744efa9","created_at":1795291989848,"enqueued_at":1795291989849}"#;
const SIDEKIQ_5: &str = r#"{"class":"ImportJob","args":[1],"retry":true,"queue":"default","jid":"b4a577edbccf1d805744efa9","created_at":1795291989.848123,"enqueued_at":1795291989.849,"unique_for":600,"bid":"kFJz"}"#;
const RESQUE: &str = r#"{"class":"Archive","args":[35,"create"],"queue_time":1795291989.5}"#;
const ACTIVE_JOB: &str = r#"{"job_class":"GuestsCleanupJob","job_id":"0e0d8ba4-9b0e-4b0c-8b4e-2b8e3fd4f1ab","provider_job_id":null,"queue_name":"default","priority":null,"arguments":[{"_aj_globalid":"gid://app/User/7"},{"customer_id":123,"_aj_ruby2_keywords":["customer_id"]}],"executions":0,"exception_executions":{},"locale":"en","timezone":"UTC","enqueued_at":"2026-11-25T10:00:00.123456789Z","scheduled_at":null}"#;
const MAIL: &str = r#"{"job_class":"ActionMailer::MailDeliveryJob","job_id":"m1","arguments":["UserMailer","welcome","deliver_now",{"args":[7],"_aj_ruby2_keywords":["args"]}]}"#;

fn on_sidekiq(wrapper: &str, wrapped: &str, active: &str) -> String {
    format!(
        r#"{{"retry":true,"queue":"default","class":"{wrapper}","wrapped":"{wrapped}","args":[{active}],"jid":"j1","created_at":1795291989848}}"#
    )
}

fn on_resque(active: &str) -> String {
    format!(r#"{{"class":"ActiveJob::QueueAdapters::ResqueAdapter::JobWrapper","args":[{active}]}}"#)
}

/// What the readers answer, as one comparable text.
fn told(payload: &[u8]) -> String {
    let job = Job::new(payload);
    let arguments = job.arguments().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {}",
        job.class(),
        job.id(),
        arguments,
        job.created_ms(),
        job.enqueued_ms(),
        job.tenant(),
        job.lock_digest(),
        job.batch(),
        job.is_unique(),
        job.is_encrypted()
    )
}

#[track_caller]
fn check(payload: &str, class: Option<&str>, id: Option<&str>, times: [Option<u64>; 2]) {
    let job = Job::new(payload.as_bytes());
    assert_eq!(job.class().as_deref(), class, "{payload}");
    assert_eq!(job.id().as_deref(), id, "{payload}");
    assert_eq!([job.created_ms(), job.enqueued_ms()], times, "{payload}");
}

#[test]
fn sidekiq_is_read_in_every_version() {
    let id = Some("b4a577edbccf1d805744efa9");
    check(SIDEKIQ_8, Some("ImportJob"), id, [Some(1_795_291_989_848), Some(1_795_291_989_849)]);
    check(SIDEKIQ_5, Some("ImportJob"), id, [Some(1_795_291_989_848), Some(1_795_291_989_849)]);
    check(r#"{"wrapped":"Lonely"}"#, Some("Lonely"), None, [None, None]);
    check(r#"{"class":"A","wrapped":"B"}"#, Some("A"), None, [None, None]);
    check(r#"{"class":1,"jid":2,"created_at":null,"enqueued_at":"x"}"#, None, None, [None, None]);
    let job = Job::new(SIDEKIQ_5.as_bytes());
    assert!(job.has_jid() && job.is_unique() && !job.is_encrypted());
    assert_eq!((job.batch().as_deref(), job.arguments()), (Some("kFJz"), Some(&b"[1]"[..])));
    assert_eq!(job.field(Field::Retry).as_deref(), Some("true"));
}

#[test]
fn resque_has_neither_id_nor_much_else() {
    check(RESQUE, Some("Archive"), None, [Some(1_795_291_989_500); 2]);
    assert!(!Job::new(RESQUE.as_bytes()).has_jid());
}

#[test]
fn active_job_is_looked_into_on_either() {
    let aj = Some(1_795_600_800_123);
    for wrapper in ["Sidekiq::ActiveJob::Wrapper", "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"] {
        check(
            &on_sidekiq(wrapper, "GuestsCleanupJob", ACTIVE_JOB),
            Some("GuestsCleanupJob"),
            Some("j1"),
            [Some(1_795_291_989_848), aj],
        );
    }
    let payload = on_resque(ACTIVE_JOB);
    check(&payload, Some("GuestsCleanupJob"), Some("0e0d8ba4-9b0e-4b0c-8b4e-2b8e3fd4f1ab"), [aj, aj]);
    let job = Job::new(payload.as_bytes());
    assert!(job.arguments().unwrap().starts_with(br#"[{"_aj_globalid""#));
    check(&on_resque("1"), Some("ActiveJob::QueueAdapters::ResqueAdapter::JobWrapper"), None, [None, None]);
}

#[test]
fn both_ids_of_an_active_job_find_it() {
    let payload = on_sidekiq("Sidekiq::ActiveJob::Wrapper", "GuestsCleanupJob", ACTIVE_JOB);
    let job = Job::new(payload.as_bytes());
    assert!(job.has_id("j1") && job.has_id("0e0d8ba4-9b0e-4b0c-8b4e-2b8e3fd4f1ab"));
    assert!(!job.has_id("") && !job.has_id("j"));
    assert_eq!(job.ids().count(), 2);
}

#[test]
fn a_mail_is_called_by_its_mailer() {
    check(&on_resque(MAIL), Some("UserMailer#welcome"), Some("m1"), [None, None]);
    let payload = on_sidekiq("Sidekiq::ActiveJob::Wrapper", "ActionMailer::MailDeliveryJob", MAIL);
    assert_eq!(Job::new(payload.as_bytes()).class().as_deref(), Some("UserMailer#welcome"));
    let broken = on_resque(r#"{"job_class":"ActionMailer::DeliveryJob","arguments":[]}"#);
    check(&broken, Some("ActionMailer::DeliveryJob"), None, [None, None]);
}

#[test]
fn keys_written_with_escapes_are_the_same_keys() {
    check(r#"{"cl\u0061ss":"Import\u004aob","j\u0069d":"\u0041"}"#, Some("ImportJob"), Some("A"), [None, None]);
}

#[test]
fn broken_payloads_have_no_fields() {
    let nothing = told(b"not JSON");
    let broken: [Vec<u8>; 9] = [
        b"".to_vec(),
        b"\x04\x08{\x06".to_vec(),
        b"[\"class\",\"A\"]".to_vec(),
        b"{\"class\":\"A\",\"class\":\"B\"}".to_vec(),
        b"{\"class\":\"A\",\"x\":\"\xff\"}".to_vec(),
        b"{\"class\":\"A\",\"x\":\"\xc3\"}".to_vec(),
        b"{\"class\":\"A\"} trailing".to_vec(),
        format!("{{\"class\":\"A\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes(),
        format!("{{\"class\":\"A\",\"x\":{}", "{\"a\":".repeat(1_000_000)).into_bytes(),
    ];
    for payload in broken {
        assert_eq!(told(&payload), nothing);
        assert!(!Job::new(&payload).has_fields());
    }
    let long = format!("{{\"class\":\"A\",\"x\":\"{}\"}}", "y".repeat(10_000_000));
    assert_eq!(Job::new(long.as_bytes()).class().as_deref(), Some("A"));
    let text = "{\"class\":\"Ä\",\"x\":\"日本語\"}";
    assert_eq!(Job::new(text.as_bytes()).class().as_deref(), Some("Ä"));
}

#[test]
fn a_payload_cut_off_anywhere_has_no_fields() {
    let nothing = told(b"not JSON");
    for payload in [SIDEKIQ_8, SIDEKIQ_5, RESQUE, &on_resque(ACTIVE_JOB), &on_resque(MAIL)] {
        for end in 0..payload.len() {
            assert_eq!(told(&payload.as_bytes()[..end]), nothing);
        }
    }
}

#[test]
fn the_last_argument_of_an_encrypted_job_is_not_read() {
    let job = Job::new(br#"{"class":"A","args":[1,2,"c2VjcmV0"],"encrypt":true}"#);
    assert_eq!(job.readable_arguments().map(Value::bytes).collect::<Vec<_>>(), [b"1", b"2"]);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            "[a-z\"é\\\\]{0,6}",
            Just("class".to_owned()),
            Just("tenant_id".to_owned()),
            Just("id".to_owned())
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn plain_text(value: Option<&serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Object(members) => match members.get("id")? {
            serde_json::Value::Bool(truth) => Some(truth.to_string()),
            value @ (serde_json::Value::String(_) | serde_json::Value::Number(_)) => plain_text(Some(value)),
            _ => None,
        },
        _ => None,
    }
}

proptest! {
    #[test]
    fn the_lazy_reader_sees_what_serde_json_sees(class in json(), jid in json(), tenant in json(), rest in json(), pretty in any::<bool>()) {
        let value = serde_json::json!({"x": rest, "class": class, "q": [rest], "jid": jid, "tenant_id": tenant});
        let payload = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let job = Job::new(payload.as_bytes());
        prop_assert!(job.has_fields());
        prop_assert_eq!(job.class().map(Cow::into_owned), class.as_str().map(str::to_owned));
        prop_assert_eq!(job.id().map(Cow::into_owned), jid.as_str().map(str::to_owned));
        prop_assert_eq!(job.tenant().map(Cow::into_owned), plain_text(Some(&tenant)));
    }

    #[test]
    fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..300, byte in any::<u8>()) {
        told(&payload);
        let mut payload = on_resque(ACTIVE_JOB).into_bytes();
        payload[at] = byte;
        told(&payload);
    }
}
