use proptest::prelude::*;

use super::*;

fn summary(payloads: &[String]) -> Summary {
    Summary::of(payloads.iter().map(String::as_bytes))
}

fn job(class: &str, tenant: u32, time_ms: u64) -> String {
    format!(
        r#"{{"class":"{class}","jid":"{class}{tenant}","tenant_id":{tenant},"created_at":{time_ms},"enqueued_at":{}}}"#,
        time_ms + 5
    )
}

const T: u64 = 1_795_291_989_848;

#[track_caller]
fn check(payloads: &[String], predicate: &str, holding: Holding) {
    let words: Vec<&str> = predicate.split(' ').collect();
    let predicate = Predicate::parse(&words, T, &[]).unwrap().0;
    assert_eq!(predicate.by_summary(b"queue:a", &summary(payloads)), holding, "{words:?}");
}

#[test]
fn jobs_are_counted() {
    let mut payloads: Vec<String> = (0..36).map(|n| job(&format!("C{}", n % 18), n % 3, T + u64::from(n))).collect();
    payloads.extend(["no job".to_owned(), r#"{"class":"C3"}"#.to_owned(), "{}".to_owned()]);
    let summary = summary(&payloads);
    assert_eq!((summary.jobs(), summary.without_fields()), (39, 1));
    assert_eq!(summary.bytes() as usize, payloads.iter().map(String::len).sum::<usize>());
    assert_eq!(summary.classes().next(), Some(("C3", 3)));
    assert_eq!((summary.classes().count(), summary.other_classes()), (NAMED_MAX, 4));
    assert_eq!(summary.tenants().collect::<Vec<_>>(), [("0", 12), ("1", 12), ("2", 12)]);
    assert_eq!((summary.other_tenants(), summary.without_tenant()), (0, 3));
    assert_eq!((summary.oldest_enqueued_ms(), summary.newest_enqueued_ms()), (Some(T + 5), Some(T + 40)));
}

#[test]
fn it_is_small() {
    assert!(size_of::<Summary>() <= 128);
    let payloads: Vec<String> = (0..1000).map(|_| job("ImportJob", 1, T)).collect();
    let empty = Summary::of(std::iter::empty());
    assert_eq!((empty.jobs(), empty.oldest_enqueued_ms(), empty.memory_bytes()), (0, None, size_of::<Summary>()));
    assert!(summary(&payloads).memory_bytes() < 1250 + 200);
    let long = format!(r#"{{"class":"{}"}}"#, "x".repeat(1_000_000));
    assert_eq!(summary(&[long]).other_classes(), 1);
}

#[test]
fn what_is_sure_is_said_without_reading() {
    let same = [job("A", 1, T), job("A", 1, T + 10)];
    check(&same, "CLASS A", Holding::All);
    check(&same, "CLASS A*", Holding::All);
    check(&same, "CLASS B", Holding::None);
    check(&same, "CLASS A TENANT 1", Holding::All);
    check(&same, "CLASS A TENANT 2", Holding::None);
    check(&same, "QUEUE b CLASS A", Holding::None);
    check(&same, "ALL", Holding::All);
    check(&same, "CLASS A ARG x=1", Holding::Unknown);
    check(&same, "CLASS B ARG x=1", Holding::None);
    check(&same, "CLASS A OLDER 1s", Holding::Unknown);
    check(&same, &format!("BEFORE {}", T), Holding::None);
    check(&same, &format!("BEFORE {}", T + 1), Holding::Some);
    check(&same, &format!("CLASS A BEFORE {}", T + 11), Holding::All);
    check(&same, "JID A1", Holding::Unknown);
    let mixed = [job("A", 1, T), job("B", 2, T), "no job".to_owned()];
    check(&mixed, "CLASS A", Holding::Some);
    check(&mixed, "CLASS *", Holding::Some);
    check(&mixed, "CLASS A TENANT 1", Holding::Unknown);
    check(&mixed, &format!("BEFORE {}", T - 1), Holding::Unknown);
    check(&mixed, "WHERE @.x", Holding::Unknown);
    check(&["no job".to_owned()], "WHERE @.x", Holding::None);
    check(&["no job".to_owned()], "ALL", Holding::All);
    check(&[], "ALL", Holding::None);
    let many: Vec<String> = (0..17).map(|n| job(&format!("C{n}"), n, T)).collect();
    check(&many, "CLASS C9", Holding::Unknown);
    check(&many, "CLASS C0", Holding::Some);
}

fn payloads() -> impl Strategy<Value = Vec<String>> {
    let payload = prop_oneof![
        ("[A-C]", 0u32..3, T..T + 5).prop_map(|(class, tenant, time_ms)| job(&class, tenant, time_ms)),
        ("[A-Zé]{1,3}", 0u32..30, T..T + 50).prop_map(|(class, tenant, time_ms)| job(&class, tenant, time_ms)),
        Just("{}".to_owned()),
        Just("no job".to_owned()),
    ];
    prop::collection::vec(payload, 0..30)
}

proptest! {
    #[test]
    fn a_stored_summary_comes_back_as_it_was(payloads in payloads()) {
        let summary = summary(&payloads);
        let stored = summary.encode();
        prop_assert_eq!(Summary::decode(&stored), Ok(summary));
        for end in 0..stored.len() {
            prop_assert!(Summary::decode(&stored[..end]).is_err());
        }
        prop_assert!(Summary::decode(&[stored, vec![0]].concat()).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(payloads in payloads(), at in 0usize..500, byte in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Summary::decode(&bytes);
        let mut stored = summary(&payloads).encode();
        let at = at % stored.len();
        stored[at] = byte;
        if let Ok(summary) = Summary::decode(&stored) {
            summary.without_tenant();
        }
    }

    #[test]
    fn what_is_said_is_true(payloads in payloads(), which in 0usize..8, tenant in 0u32..4, before in 0u64..50) {
        let before_ms = T + before;
        let text = match which {
            0 => "CLASS A".to_owned(),
            1 => format!("CLASS B TENANT {tenant}"),
            2 => format!("TENANT {tenant}"),
            3 => format!("BEFORE {before_ms}"),
            4 => format!("CLASS A BEFORE {before_ms}"),
            5 => format!("JID A{tenant} B1"),
            6 => "CLASS [AB]".to_owned(),
            _ => "WHERE @.tenant_id == 1".to_owned(),
        };
        let words = if which == 7 { vec!["WHERE", &text[6..]] } else { text.split(' ').collect() };
        let predicate = Predicate::parse(&words, T, &[]).unwrap().0;
        let matching = payloads.iter().filter(|payload| predicate.matches(b"queue:a", &Job::new(payload.as_bytes()), T, T)).count();
        match predicate.by_summary(b"queue:a", &summary(&payloads)) {
            Holding::None => prop_assert_eq!(matching, 0),
            Holding::Some => prop_assert!(matching > 0),
            Holding::All => prop_assert_eq!(matching, payloads.len()),
            Holding::Unknown => {}
        }
    }
}
