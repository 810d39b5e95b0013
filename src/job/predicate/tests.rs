use proptest::prelude::*;

use super::*;

const NOW_MS: u64 = 1_795_291_990_000;
const SIDEKIQ: &str = r#"{"retry":true,"queue":"default","class":"ImportJob","args":[{"customer_id":123,"note":"x"}],"jid":"b4a577edbccf1d805744efa9","created_at":1795291989848,"enqueued_at":1795291989849,"tenant_id":7}"#;
const ACTIVE_JOB: &str = r#"{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"ImportJob","args":[{"job_class":"ImportJob","job_id":"0e0d","arguments":[{"customer_id":123}],"enqueued_at":"2026-11-25T10:00:00Z"}],"jid":"j1"}"#;
const RESQUE: &str = r#"{"class":"ImportJob","args":[{"customer_id":"123"}]}"#;
const MAIL: &str = r#"{"class":"Sidekiq::ActiveJob::Wrapper","args":[{"job_class":"ActionMailer::MailDeliveryJob","arguments":["UserMailer","welcome","deliver_now",{"args":[7]}]}]}"#;
const BROKEN: &str = r#"{"class":"ImportJob","args":[{"customer_id":123}]"#;

fn parse(text: &str) -> Predicate {
    let words: Vec<&str> = text.split(' ').collect();
    let (predicate, used) = Predicate::parse(&words, NOW_MS, &["COUNT"]).unwrap();
    assert_eq!(used, words.len(), "{text}");
    predicate
}

#[track_caller]
fn check(text: &str, payloads: &[(&str, bool)]) {
    let predicate = parse(text);
    for (payload, matches) in payloads {
        let job = Job::new(payload.as_bytes());
        assert_eq!(predicate.matches(b"queue:default", &job, NOW_MS, NOW_MS), *matches, "{text}: {payload}");
        assert!(!(*matches && predicate.quick_reject(payload.as_bytes())), "{text}: {payload}");
    }
}

#[track_caller]
fn check_error(text: &str, told: &str) {
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(Predicate::parse(&words, NOW_MS, &["COUNT"]).unwrap_err().to_string(), told, "{text}");
}

#[test]
fn each_part_selects_what_it_names() {
    let all = [(SIDEKIQ, true), (ACTIVE_JOB, true), (RESQUE, true), (BROKEN, false), (MAIL, false)];
    check("CLASS ImportJob", &all);
    check("class Import*", &all);
    check("CLASS [IX]mport?ob", &all);
    check("ARG customer_id=123", &all);
    check("CLASS ImportJob ARG customer_id=123", &all);
    check("CLASS UserMailer#welcome", &[(MAIL, true), (SIDEKIQ, false)]);
    check("CLASS UserMailer#*", &[(MAIL, true)]);
    check("CLASS Sidekiq::ActiveJob::Wrapper", &[(ACTIVE_JOB, false)]);
    check("CLASS Import", &[(SIDEKIQ, false)]);
    check("TENANT 7", &[(SIDEKIQ, true), (ACTIVE_JOB, false)]);
    check("JID a b4a577edbccf1d805744efa9 z", &[(SIDEKIQ, true), (ACTIVE_JOB, false)]);
    check("JID 0e0d", &[(SIDEKIQ, false), (ACTIVE_JOB, true)]);
    check("JID j1", &[(ACTIVE_JOB, true), (RESQUE, false)]);
    check("ARG customer_id=123 ARG note=x", &[(SIDEKIQ, true), (RESQUE, false)]);
    check("WHERE @.args[0].customer_id==123", &[(SIDEKIQ, true), (RESQUE, false), (BROKEN, false)]);
    check("ALL", &[(SIDEKIQ, true), (BROKEN, true), ("", true)]);
    check("QUEUE def* ALL", &[(SIDEKIQ, true), (BROKEN, true)]);
    check("QUEUE other ALL", &[(SIDEKIQ, false)]);
    check("CLASS ImportJob TENANT 8", &[(SIDEKIQ, false)]);
}

#[test]
fn escapes_hide_nothing() {
    let escaped =
        r#"{"cl\u0061ss":"Import\u004aob","args":[{"customer\u005fid":"\u0031\u0032\u0033"}],"jid":"\u006a1"}"#;
    for text in ["CLASS ImportJob", "ARG customer_id=123", "JID j1"] {
        check(text, &[(escaped, true)]);
    }
    check("CLASS ImportJob", &[(r#"{"x":"\",\"class\":\"Other","class":"ImportJob"}"#, true)]);
    check("CLASS Other", &[(r#"{"x":"\",\"class\":\"Other","class":"ImportJob"}"#, false)]);
}

#[test]
fn before_is_measured_on_creation() {
    let at = |created_ms: u64| format!(r#"{{"created_at":{created_ms},"enqueued_at":{NOW_MS}}}"#);
    check("BEFORE now", &[(&at(NOW_MS - 1), true), (&at(NOW_MS), false), (&at(NOW_MS + 1), false), ("{}", true)]);
    check("BEFORE 1795291989", &[(SIDEKIQ, false), ("{}", false)]);
    check("BEFORE 2027-01-01T00:00:00Z", &[(SIDEKIQ, true)]);
    let before = parse("BEFORE 1000000000000");
    let matches = |pushed_by_ms| before.matches(b"queue:a", &Job::new(b"no JSON"), NOW_MS, pushed_by_ms);
    assert!(matches(1_000_000_000_000) && !matches(1_000_000_000_001));
}

#[test]
fn older_is_measured_on_enqueueing() {
    let at = |enqueued_ms: u64| format!(r#"{{"created_at":1,"enqueued_at":{enqueued_ms}}}"#);
    check(
        "OLDER 5m",
        &[(&at(NOW_MS - 300_000), true), (&at(NOW_MS - 299_999), false), (&at(NOW_MS + 1), false), ("{}", false)],
    );
    assert!(parse("OLDER 5m").matches(b"queue:a", &Job::new(b"{}"), NOW_MS, NOW_MS - 300_000));
}

#[test]
fn words_are_taken_up_to_the_callers_own() {
    let words = ["JID", "a", "b", "COUNT", "5"];
    let (predicate, used) = Predicate::parse(&words, NOW_MS, &["COUNT"]).unwrap();
    assert_eq!((used, predicate.words()), (3, vec!["JID".into(), "a".into(), "b".into()]));
    let words = ["queue", "all", "Class", "ALL", "Action", "drop"];
    let (predicate, used) = Predicate::parse(&words, NOW_MS, &[]).unwrap();
    assert_eq!((used, predicate.words()), (4, ["QUEUE", "all", "CLASS", "ALL"].map(String::from).to_vec()));
    let (predicate, _) = Predicate::parse(&["JID", "b", "CLASS", "A", "JID", "a", "b"], NOW_MS, &[]).unwrap();
    assert_eq!(predicate.words().join(" "), "CLASS A JID a b");
}

#[test]
fn a_predicate_tells_what_it_depends_on() {
    let facts = |text: &str| {
        let predicate = parse(text);
        [
            predicate.names_queue_only(),
            predicate.by_class_alone(),
            predicate.depends_on_time(),
            predicate.asks_time_of_push(),
        ]
    };
    assert_eq!(facts("QUEUE a ALL"), [true, false, false, false]);
    assert_eq!(facts("QUEUE a CLASS b"), [false, true, false, false]);
    assert_eq!(facts("CLASS b OLDER 1s"), [false, false, true, true]);
    assert_eq!(facts("BEFORE now"), [false, false, false, true]);
    assert_eq!(Predicate::all(), parse("ALL"));
    assert!(parse("QUEUE a ALL").covers_queue(b"x:queue:a") && !parse("QUEUE a ALL").covers_queue(b"queue:b"));
}

#[test]
fn errors_say_what_to_do() {
    check_error("", "ERR a predicate that names nothing but a queue needs the word ALL");
    check_error(
        "CLAZZ A",
        "ERR 'CLAZZ' begins no part of a predicate; there are QUEUE, CLASS, TENANT, JID, ARG, BEFORE, OLDER, WHERE, ALL",
    );
    check_error("QUEUE a", "ERR a predicate that names nothing but a queue needs the word ALL");
    check_error("CLASS a ALL", "ERR ALL stands alone or with QUEUE");
    check_error("QUEUE", "ERR QUEUE takes a glob, and nothing follows it");
    check_error("JID CLASS a", "ERR JID takes one or more ids, and nothing follows it");
    check_error("JID COUNT 5", "ERR JID takes one or more ids, and nothing follows it");
    check_error("CLASS a CLASS b", "ERR CLASS is given twice");
    check_error("ARG x", "ERR ARG takes name=value or n=value, not 'x'");
    check_error(
        "BEFORE x",
        "ERR BEFORE takes 'now', Unix seconds or milliseconds, or a time such as 2026-11-25T10:00:00Z, not 'x'",
    );
    check_error("OLDER 5x", "ERR OLDER takes a duration such as 250ms, 30s, 5m, 2h or 7d, not '5x' (at column 2)");
    check_error(
        "WHERE @.a=1",
        "ERR WHERE: expected what RFC 9535 takes in a filter, such as @.args[0].amount > 1000, at column 4",
    );
    check_error(&"ARG a=1 ".repeat(33), "ERR ARG takes at most 32 times");
    check_error(&format!("JID{}", " x".repeat(IDS_MAX + 1)), "ERR JID takes at most 10000 ids");
    let error = Predicate::parse(&[&b"CLASS"[..], b"a\xff"], NOW_MS, &[]).unwrap_err();
    assert_eq!(error.to_string(), "ERR CLASS takes UTF-8 text (at column 2)");
}

fn predicates() -> impl Strategy<Value = Vec<String>> {
    let text = || prop_oneof!["[a-zA-Z*?:=é ]{1,8}", "[0-9]{1,6}"];
    let part = prop_oneof![
        text().prop_map(|text| vec!["CLASS".to_owned(), text]),
        text().prop_map(|text| vec!["TENANT".to_owned(), text]),
        prop::collection::vec("[0-9a-f]{1,24}", 1..4).prop_map(|ids| [vec!["jid".to_owned()], ids].concat()),
        ("[a-z0-9]{1,5}", text()).prop_map(|(name, value)| vec!["Arg".to_owned(), format!("{name}={value}")]),
        (0u64..3_000_000_000_000).prop_map(|time_ms| vec!["BEFORE".to_owned(), time_ms.to_string()]),
        (0u64..1_000_000).prop_map(|time_ms| vec!["OLDER".to_owned(), format!("{time_ms}ms")]),
        "[a-z]{1,5}".prop_map(|name| vec!["WHERE".to_owned(), format!("@.{name} > 1")]),
        text().prop_map(|text| vec!["QUEUE".to_owned(), text]),
        Just(vec!["ALL".to_owned()]),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn written_words_are_read_as_an_equal_predicate(words in predicates()) {
        if let Ok((predicate, used)) = Predicate::parse(&words, NOW_MS, &[]) {
            prop_assert_eq!(used, words.len());
            let written = predicate.words();
            let (again, used) = Predicate::parse(&written, NOW_MS + 1, &[]).unwrap();
            prop_assert_eq!(used, written.len());
            prop_assert_eq!(&again, &predicate);
            prop_assert_eq!(again.words(), written);
        }
    }

    #[test]
    fn a_quick_look_never_rejects_a_match(class in "[AB]{1,2}", name in "[ab]", value in "[12]{1,2}", escape in any::<bool>()) {
        let payload = format!(r#"{{"class":"{}","jid":"1","args":[{{"{name}":{value}}}]}}"#, if escape { class.replace('A', "\\u0041") } else { class });
        let job = Job::new(payload.as_bytes());
        for text in ["CLASS A", "CLASS AB ARG a=1", "ARG a=12", "ARG b=2 JID 1", "CLASS B*", "JID 1 2", "TENANT 1"] {
            let predicate = parse(text);
            let matches = predicate.matches(b"queue:a", &job, 0, 0);
            prop_assert!(!(matches && predicate.quick_reject(payload.as_bytes())));
        }
    }

    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec(prop_oneof![any::<String>(), "(JID|ARG|WHERE|OLDER|BEFORE|ALL|QUEUE)", "[@$.\\[\\]()?=!'*a0 ]{0,12}"], 0..6)) {
        let _ = Predicate::parse(&words, NOW_MS, &[]);
    }
}
