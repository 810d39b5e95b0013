use super::*;

#[track_caller]
fn check(payload: &str, is_job: bool) {
    assert_eq!(Fields::unread().are_there(payload.as_bytes()), is_job, "{payload}");
}

#[test]
fn only_one_whole_object_is_a_job() {
    check("{}", true);
    check(" { } \n", true);
    check(r#"{"class":"A"}"#, true);
    check(r#"{"class":"A"} {}"#, false);
    check(r#"{"class":"A"}x"#, false);
    check(r#"{"class":"A""#, false);
    check(r#"{"class":"A",}"#, false);
    check(r#"[{"class":"A"}]"#, false);
    check(r#""class""#, false);
    check("", false);
}

#[test]
fn a_key_that_is_there_twice_is_found_however_it_is_written() {
    check(r#"{"class":"A","class":"B"}"#, false);
    check(r#"{"class":"A","cl\u0061ss":"B"}"#, false);
    check(r#"{"x":1,"x":2}"#, false);
    check(r#"{"x":1,"\u0078":2}"#, false);
    check(r#"{"\u0078":1,"x":2}"#, false);
    check(r#"{"\u0078":1,"\u0078":2}"#, false);
    check(r#"{"x":{"a":1,"a":2}}"#, true);
    check(r#"{"class":"A","Class":"B"}"#, true);
}

#[test]
fn many_keys_are_compared_without_quadratic_time() {
    let keys = |count: usize| (0..count).map(|n| format!("\"key{n}\":{n}")).collect::<Vec<_>>().join(",");
    check(&format!("{{{}}}", keys(200_000)), true);
    check(&format!("{{{},\"key7\":1}}", keys(200_000)), false);
    check(&format!("{{{},\"key5\":1}}", keys(FEW)), false);
    check(&format!("{{{},\"key6\":1}}", keys(FEW + 1)), false);
}

#[test]
fn the_class_is_told_early_or_not_at_all() {
    let check = |payload: &str, class: Option<&str>| {
        let early = Fields::unread().early_class(payload.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(early.as_deref(), class.map(str::as_bytes), "{payload}");
    };
    check(r#"{"class":"A"}"#, Some("A"));
    check(r#" { "x" : [1,{}] , "class" : "A" , broken"#, Some("A"));
    check(r#"{"x":"\"class","class":"A"}"#, None);
    check(r#"{"x":"a\",\"class\":\"B","class":"A"}"#, None);
    check(r#"{"x":"é","class":"A"}"#, None);
    check(r#"{"class":1}"#, None);
    check(r#"{"x":{"class":"B"}}"#, None);
    check(r#"["class","A"]"#, None);
    check("", None);
}
