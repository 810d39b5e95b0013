//! The search for the tenant of a job, where no rule says where it stands.

use std::borrow::Cow;

use super::fields::Field;
use super::payload::Job;
use super::text::Text;
use super::value::Value;

/// Names of a tenant in CurrentAttributes, in order.
const ATTRIBUTES: [&str; 4] = ["tenant_id", "account_id", "shop_id", "organization_id"];
/// Names of a tenant in a hash argument, in order: those, and what gems add to a payload.
const ARGUMENT_NAMES: [&str; 6] =
    ["tenant_id", "account_id", "shop_id", "organization_id", "apartment", "acts_as_tenant"];

/// Finds the tenant, and says in which place: the first that is there, in the order that the contract gives.
pub fn find<'a>(job: &Job<'a>) -> Option<(Cow<'a, str>, &'static str)> {
    let at = |place| move |tenant| (tenant, place);
    (job.cattrs().find_map(current_attribute).map(at("cattr")))
        .or_else(|| named(job.value(Field::TenantId)?).map(at("tenant_id")))
        .or_else(|| named(job.value(Field::Apartment)?).map(at("apartment")))
        .or_else(|| named(job.value(Field::ActsAsTenant)?).map(at("acts_as_tenant")))
        .or_else(|| in_hash(job.active_job()?.hash, &ARGUMENT_NAMES).map(at("args")))
        .or_else(|| in_hash(job.readable_arguments().find(is_plain_hash)?, &ARGUMENT_NAMES).map(at("args")))
}

/// Finds a tenant in CurrentAttributes: a hash (Sidekiq up to 8.0), or pairs as ActiveJob serializes them (8.1).
fn current_attribute(attributes: Value<'_>) -> Option<Cow<'_, str>> {
    if attributes.is_object() {
        return in_hash(attributes, &ATTRIBUTES);
    }
    let mut found: [Option<Cow<'_, str>>; ATTRIBUTES.len()] = [const { None }; ATTRIBUTES.len()];
    for element in attributes.elements() {
        if element.is_object()
            && let Some(tenant) = in_hash(element, &ATTRIBUTES)
        {
            return Some(tenant);
        }
        let mut pair = element.elements();
        let (Some(name), Some(value)) = (pair.next(), pair.next()) else { continue };
        let Some(name) = name.meaning() else { continue };
        if let Some(rank) = ATTRIBUTES.iter().position(|attribute| *attribute == name) {
            found[rank] = named(value);
        }
    }
    found.into_iter().flatten().next()
}

/// Finds the member with the first of these names.
fn in_hash<'a>(hash: Value<'a>, names: &[&str]) -> Option<Cow<'a, str>> {
    let mut best: Option<(usize, Value<'a>)> = None;
    for (key, value) in hash.members() {
        let Some(rank) = names.iter().position(|name| is_name(key, name)) else { continue };
        // One of the same rank is the same key again: the last counts.
        if best.is_none_or(|(other, _)| rank <= other) && named(value).is_some() {
            best = Some((rank, value));
        }
    }
    named(best?.1)
}

/// Tells whether a key is that name. Sidekiq 8.0 serialized symbols to hashes and let Ruby print them as keys:
/// `{"_aj_serialized" => "…SymbolSerializer", "value" => "tenant_id"}`.
fn is_name(key: Text<'_>, name: &str) -> bool {
    if !key.is_escaped() {
        return key.is(name);
    }
    key.decode().is_some_and(|key| {
        key == name
            || key
                .strip_prefix("{\"_aj_serialized\"")
                .and_then(|rest| rest.strip_suffix("\"}"))
                .is_some_and(|rest| rest.strip_suffix(name).is_some_and(|rest| rest.ends_with('"')))
    })
}

/// Reads a tenant: a text or a number, a GlobalID's id, or what acts_as_tenant writes, `{"class": …, "id": …}`.
fn named(value: Value<'_>) -> Option<Cow<'_, str>> {
    let meaning = match value.bytes().first()? {
        b't' | b'f' => None,
        b'{' => value.meaning().or_else(|| value.member("id")?.meaning()),
        _ => value.meaning(),
    };
    meaning.filter(|tenant| !tenant.is_empty())
}

/// Tells a hash argument from an object that ActiveJob serialized, which says so by its first key.
fn is_plain_hash(value: &Value<'_>) -> bool {
    let first = value.members().next();
    value.is_object() && first.is_none_or(|(key, _)| !key.is("_aj_globalid") && !key.is("_aj_serialized"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &str, tenant: Option<&str>) {
        assert_eq!(Job::new(payload.as_bytes()).tenant().as_deref(), tenant, "{payload}");
    }

    #[test]
    fn current_attributes_come_first() {
        check(r#"{"cattr":{"user_id":1,"tenant_id":7},"tenant_id":8}"#, Some("7"));
        check(r#"{"cattr":{"user_id":1},"cattr_1":{"shop_id":"s"},"tenant_id":8}"#, Some("s"));
        check(r#"{"cattr_1":{"shop_id":"b"},"cattr":{"shop_id":"a"}}"#, Some("a"));
        check(r#"{"cattr":{"shop_id":3,"account_id":2,"tenant_id":null}}"#, Some("2"));
        check(
            r#"{"cattr":{"account_id":{"_aj_globalid":"gid://app/Account/42"},"_aj_symbol_keys":["account_id"]}}"#,
            Some("42"),
        );
        check(r#"{"cattr":{"tenant_id":1,"tenant_id":2}}"#, Some("2"));
        check(r#"{"cattr":null,"tenant_id":8}"#, Some("8"));
        check(r#"{"cattr":7,"tenant_id":8}"#, Some("8"));
    }

    #[test]
    fn current_attributes_of_sidekiq_8_are_pairs() {
        let symbol =
            |name: &str| format!(r#"{{"_aj_serialized":"ActiveJob::Serializers::SymbolSerializer","value":"{name}"}}"#);
        check(&format!(r#"{{"cattr":[[{},1],[{},42]]}}"#, symbol("user_id"), symbol("tenant_id")), Some("42"));
        check(&format!(r#"{{"cattr":[[{},3],[{},2]]}}"#, symbol("shop_id"), symbol("account_id")), Some("2"));
        check(&format!(r#"{{"cattr":[[{},{{"_aj_globalid":"gid://app/Shop/42"}}]]}}"#, symbol("shop_id")), Some("42"));
        check(r#"{"cattr":[["tenant_id",9]]}"#, Some("9"));
        check(r#"{"cattr":[{"tenant_id":9,"_aj_symbol_keys":["tenant_id"]}]}"#, Some("9"));
        check(r#"{"cattr":[["tenant_id"],7,[],[[],1],["tenant_id",null]],"tenant_id":8}"#, Some("8"));
        let printed = symbol("tenant_id").replace('"', "\\\"");
        check(&format!(r#"{{"cattr":{{"{printed}":5}}}}"#), Some("5"));
        check(&format!(r#"{{"cattr":{{"{}":5}}}}"#, printed.replace(':', " => ")), Some("5"));
        check(&format!(r#"{{"cattr":{{"{}":5}}}}"#, printed.replace("tenant_id", "my_tenant_id")), None);
    }

    #[test]
    fn names_at_the_top_come_next() {
        check(r#"{"apartment":"acme","tenant_id":8}"#, Some("8"));
        check(r#"{"apartment":"acme","args":[{"tenant_id":1}]}"#, Some("acme"));
        check(r#"{"acts_as_tenant":{"class":"Account","id":12}}"#, Some("12"));
        check(r#"{"acts_as_tenant":"gid://app/Account/12"}"#, Some("12"));
        check(r#"{"tenant_id":"gid:\/\/app\/Shop\/42"}"#, Some("42"));
        check(r#"{"tenant_id":"","apartment":null,"acts_as_tenant":{}}"#, None);
        check(r#"{"tenant_id":true,"apartment":[1]}"#, None);
        check(r#"{"account_id":5}"#, None);
    }

    #[test]
    fn the_first_hash_argument_comes_last() {
        check(r#"{"class":"A","args":[1,{"shop_id":3},{"tenant_id":4}]}"#, Some("3"));
        check(r#"{"class":"A","args":[1,{"x":3},{"tenant_id":4}]}"#, None);
        check(r#"{"class":"A","args":[{"apartment":"acme"}]}"#, Some("acme"));
        let wrapped = |inner: &str| format!(r#"{{"class":"Sidekiq::ActiveJob::Wrapper","args":[{{{inner}}}]}}"#);
        check(&wrapped(r#""job_class":"A","arguments":[{"_aj_globalid":"gid://a/User/1"},{"shop_id":3}]"#), Some("3"));
        check(&wrapped(r#""job_class":"A","tenant_id":7,"arguments":[{"shop_id":3}]"#), Some("7"));
    }

    #[test]
    fn an_encrypted_argument_names_nobody() {
        check(r#"{"class":"A","encrypt":true,"args":[{"tenant_id":4},"c2VjcmV0"]}"#, Some("4"));
        check(r#"{"class":"A","encrypt":true,"args":[{"tenant_id":4}]}"#, None);
    }
}
