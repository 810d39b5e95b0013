use proptest::prelude::*;
use serde_json_path::JsonPath;

use super::*;

const JOB: &str = r#"{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"ImportJob","jid":"b4a577edbccf1d805744efa9","x":{"a b":[1,-2.5,"t",true,null,{"ü":"y"}]},
    "args":[{"job_class":"ImportJob","arguments":[{"_aj_globalid":"gid://app/User/7"},{"shop":{"_aj_globalid":"gid:\/\/app\/Shop\/42?x"}},"gid://app/Shop/43"]}]}"#;

#[track_caller]
fn check(path: &str, found: Option<&str>) {
    let parsed = Path::parse(path).unwrap();
    assert_eq!(Job::new(JOB.as_bytes()).at_path(&parsed).as_deref(), found, "{path}");
    assert_eq!(parsed.to_string(), path);
    assert_eq!(Path::parse(&parsed.to_string()), Ok(parsed));
}

#[test]
fn a_path_finds_what_it_names() {
    check("class", Some("ImportJob"));
    check("$.class", Some("Sidekiq::ActiveJob::Wrapper"));
    check("gid:Shop", Some("42"));
    check("gid:User", Some("7"));
    check("gid:Sho", None);
    check("$.args[0].arguments[1].shop", Some("42"));
    check("$.args[0].arguments[-1]", Some("43"));
    check("$['x'][\"a b\"][0]", Some("1"));
    check("$ .x [ 'a b' ] [1]", Some("-2.5"));
    check(r"$.x['a\u0020b'][3]", Some("true"));
    check("$.x['a b'][4]", None);
    check("$.x['a b'][-1].ü", Some("y"));
    check("$.x['a b'][-6]", Some("1"));
    check("$.x['a b'][-7]", None);
    check("$.x['a b'][9007199254740991]", None);
    check("$.x", None);
    check("$.class.x", None);
    check("$.nothing.at.all", None);
}

#[test]
fn a_job_without_fields_has_nothing_at_any_path() {
    for path in ["class", "gid:Shop", "$.a"] {
        assert_eq!(Job::new(br#"{"a":1}x"#).at_path(&Path::parse(path).unwrap()), None);
    }
    assert_eq!(Job::new(b" {\"a\":1}\n").at_path(&Path::parse("$.a").unwrap()).as_deref(), Some("1"));
}

#[test]
fn what_is_no_path_says_where() {
    for (path, told) in [
        ("", "expected 'class', 'gid:Model' or a query that begins with '$' at column 1 of ''"),
        ("gid:", "expected the name of a model, as in gid:Shop, at column 5 of 'gid:'"),
        ("$", "expected '.name' or '[index]' at column 2 of '$'"),
        ("$.a ", "expected '.name' or '[index]' at column 4 of '$.a '"),
        ("$.é-b", "expected '.name' or '[index]' at column 4 of '$.é-b'"),
        ("$..a", "expected a name (a singular query has no wildcard) at column 3 of '$..a'"),
        ("$[01]", "expected an index at column 3 of '$[01]'"),
        ("$[-0]", "expected an index at column 3 of '$[-0]'"),
        ("$[1", "expected ']' at column 4 of '$[1'"),
        ("$['a", "expected a closing quote at column 5 of '$['a'"),
        (r"$['\x']", r"expected an escape at column 5 of '$['\x']'"),
        (
            "$[*]",
            "expected an index or a name in quotes (a singular query has no wildcard, slice or filter) at column 3 of '$[*]'",
        ),
    ] {
        assert_eq!(Path::parse(path).unwrap_err().to_string(), told);
    }
    assert!(Path::parse(&format!("$.{}", "a".repeat(PATH_BYTES_MAX))).is_err());
}

proptest! {
    #[test]
    fn what_is_a_path_is_one_for_the_library_too(path in r#"\$([.\[\]'"\\ a0-9*:-]|\['|'\]|\\u0041){0,8}"#) {
        if Path::parse(&path).is_ok() {
            prop_assert!(JsonPath::parse(&path).is_ok(), "{}", path);
        }
    }

    #[test]
    fn no_text_makes_it_panic(path in any::<String>(), query in r#"\$["'\[\\ud89é]{0,20}"#) {
        let _ = (Path::parse(&path), Path::parse(&query));
    }
}
