use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn scans(text: &[u8]) -> bool {
    let end = match token(text, 0) {
        Some((at, first)) if is_plain(text) => value::<true>(text, at, first, 0),
        Some((at, first)) => value::<false>(text, at, first, 0),
        None => None,
    };
    end.is_some_and(|end| token(text, end).is_none()) && std::str::from_utf8(text).is_ok()
}

#[track_caller]
fn check(text: &str) {
    let strict = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert_eq!(scans(text.as_bytes()), strict, "{text:?}");
}

#[test]
fn what_is_json_is_what_serde_json_says() {
    let values = "0 -0 01 1. .5 1.5 1e5 1E+5 1e 1e- - -a true tru nul null falsey \"a\" \"a \"\\u12g4\" \"\\u1234\" \
        \"\\x\" [] {} [1] [1,] [,1] [1,2] {\"a\":1} {\"a\":1,} {\"a\"} {a:1} {1:2} [} {] [[]] [{}] {\"a\":{}} [1}";
    values.split(' ').for_each(check);
    [" [ 1 , 2 ] ", "\t{ \"a\" : 1 }\n", "[1 2]", "\"a\u{1}b\"", "\"a\u{7f}b\"", "", " ", "\"\n\"", "1 2", "[\u{a0}]"]
        .into_iter()
        .for_each(check);
}

#[test]
fn special_characters_are_found_at_every_place() {
    for length in 0..200 {
        for end in ["\"", "\\n\"", "\u{1}\"", "é\"", ""] {
            check(&format!("\"{}{end}", "ж".repeat(length)));
            check(&format!("\"{}{end}", "x".repeat(length)));
        }
    }
}

#[test]
fn an_odd_character_is_found_at_every_place() {
    for length in 1..100 {
        assert!(is_plain(&vec![b'x'; length]));
        for (at, odd) in (0..length).flat_map(|at| [0x1f, b'\\', 0x80, 0xff].map(|odd| (at, odd))) {
            let mut bytes = vec![b'x'; length];
            bytes[at] = odd;
            assert!(!is_plain(&bytes), "{length} {at} {odd}");
        }
    }
}

#[test]
fn nesting_is_bounded_without_a_stack() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(scans(nested(DEPTH_MAX as usize).as_bytes()));
    assert!(!scans(nested(DEPTH_MAX as usize + 1).as_bytes()));
    assert!(!scans("[".repeat(1_000_000).as_bytes()));
    assert!(!scans("{\"a\":".repeat(1_000_000).as_bytes()));
}

proptest! {
    #[test]
    fn any_text_is_judged_as_serde_json_does(text in r#"[\[\]{}:,"\\u0-9a-e.\-+ntrue ]{0,24}"#) {
        prop_assert_eq!(scans(text.as_bytes()), serde_json::from_str::<IgnoredAny>(&text).is_ok());
    }

    #[test]
    fn a_changed_byte_is_judged_as_serde_json_does(at in 0usize..60, byte in any::<u8>()) {
        let mut text = br#"{"a":[1,-2.5e3,true,"x\u0041y"],"bcd":{"e":null,"f":{}}}"#.to_vec();
        let at = at % text.len();
        text[at] = byte;
        prop_assert_eq!(scans(&text), serde_json::from_slice::<IgnoredAny>(&text).is_ok() && std::str::from_utf8(&text).is_ok());
    }
}
