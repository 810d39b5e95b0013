//! The top-level keys that mean something to Millpond.

use super::super::text::Text;

/// So many CurrentAttributes classes are read (`cattr`, `cattr_1` …). Applications have one or two.
pub const CATTR_COUNT: usize = 8;

/// Top-level keys that mean something to Millpond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Field {
    Class,
    Wrapped,
    Jid,
    Args,
    Queue,
    Retry,
    CreatedAt,
    EnqueuedAt,
    QueueTime,
    At,
    FailedAt,
    RetryCount,
    ErrorClass,
    Encrypt,
    LockDigest,
    UniqueDigest,
    UniqueFor,
    Bid,
    TenantId,
    Apartment,
    ActsAsTenant,
    Slo,
    Weight,
    ExpiresIn,
    /// The first of the CurrentAttributes; `cattr_1` to `cattr_7` follow it.
    Cattr,
}

pub const FIELD_COUNT: usize = Field::Cattr as usize + CATTR_COUNT;

/// Answers the place of a field, if the key names one.
#[inline]
pub fn known(key: Text<'_>) -> Option<usize> {
    if key.is_escaped() {
        return known_name(key.decode()?.as_bytes());
    }
    known_name(key.raw())
}

/// Finds a key by its length first, so that each comparison is one of a few machine words.
fn known_name(key: &[u8]) -> Option<usize> {
    let field = match key.len() {
        2 if key == b"at" => Field::At,
        3 if key == b"jid" => Field::Jid,
        3 if key == b"bid" => Field::Bid,
        3 if key == b"slo" => Field::Slo,
        4 if key == b"args" => Field::Args,
        5 if key == b"class" => Field::Class,
        5 if key == b"queue" => Field::Queue,
        5 if key == b"retry" => Field::Retry,
        5 if key == b"cattr" => Field::Cattr,
        6 if key == b"weight" => Field::Weight,
        7 if key == b"wrapped" => Field::Wrapped,
        7 if key == b"encrypt" => Field::Encrypt,
        7 if key.starts_with(b"cattr_") => return later_cattr(key[6]),
        9 if key == b"failed_at" => Field::FailedAt,
        9 if key == b"tenant_id" => Field::TenantId,
        9 if key == b"apartment" => Field::Apartment,
        10 if key == b"created_at" => Field::CreatedAt,
        10 if key == b"queue_time" => Field::QueueTime,
        10 if key == b"unique_for" => Field::UniqueFor,
        10 if key == b"expires_in" => Field::ExpiresIn,
        11 if key == b"enqueued_at" => Field::EnqueuedAt,
        11 if key == b"retry_count" => Field::RetryCount,
        11 if key == b"error_class" => Field::ErrorClass,
        11 if key == b"lock_digest" => Field::LockDigest,
        13 if key == b"unique_digest" => Field::UniqueDigest,
        14 if key == b"acts_as_tenant" => Field::ActsAsTenant,
        _ => return None,
    };
    Some(field as usize)
}

fn later_cattr(digit: u8) -> Option<usize> {
    let number = usize::from(digit.wrapping_sub(b'0'));
    (1..CATTR_COUNT).contains(&number).then(|| Field::Cattr as usize + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name() {
        let names = "class wrapped jid args queue retry created_at enqueued_at queue_time at failed_at retry_count \
            error_class encrypt lock_digest unique_digest unique_for bid tenant_id apartment acts_as_tenant slo weight \
            expires_in cattr cattr_1 cattr_2 cattr_3 cattr_4 cattr_5 cattr_6 cattr_7";
        for (index, name) in names.split_whitespace().enumerate() {
            assert_eq!(known_name(name.as_bytes()), Some(index), "{name}");
        }
        for name in ["cattr_0", "cattr_8", "cattr_x", "jida", "klass", ""] {
            assert_eq!(known_name(name.as_bytes()), None, "{name}");
        }
    }
}
