//! Which keys are queues, and what a person calls them.

use memchr::memmem;

use super::pattern::Pattern;

/// What stands before the name in the key of a queue.
const MARK: &[u8] = b"queue:";
/// Keys that begin so are Millpond's own, working lists, or lists of Sidekiq's super_fetch.
const NEVER: [&[u8]; 3] = [b"job:", b"working:", b"queue:sq|"];

/// The settings `job-queues` and `job-working-lists`; by default, nothing is a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queues {
    patterns: Box<[Pattern]>,
    working: Box<[Pattern]>,
}

impl Queues {
    /// Reads both settings: globs with spaces between them.
    pub fn parse(patterns: &str, working: &str) -> Queues {
        let globs = |text: &str| text.split_whitespace().map(Pattern::new).collect();
        Queues { patterns: globs(patterns), working: globs(working) }
    }

    /// Tells whether elements of a list with this key are jobs.
    pub fn is_queue(&self, key: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(key))
            && !NEVER.iter().any(|beginning| key.starts_with(beginning))
            && !self.working.iter().any(|pattern| pattern.matches(key))
    }
}

/// Splits the key of a queue into its namespace and its name: `resque:queue:mail` into `resque:` and `mail`. A key without
/// `queue:` is all name.
pub fn namespace_of(key: &[u8]) -> (&[u8], &[u8]) {
    let mut end = key.len();
    while let Some(at) = memmem::rfind(&key[..end], MARK) {
        if at == 0 || key[at - 1] == b':' {
            return (&key[..at], &key[at + MARK.len()..]);
        }
        // The end of another word, as in `myqueue:`.
        end = at + MARK.len() - 1;
    }
    (&[], key)
}

/// Tells whether a queue argument means this key: the key as a whole, or, for a word without a colon, the queue's name.
pub fn queue_matches(queue: &str, key: &[u8]) -> bool {
    means(&Pattern::new(queue), key)
}

/// The same for a pattern that was read before.
pub(super) fn means(queue: &Pattern, key: &[u8]) -> bool {
    queue.matches(key) || !queue.text().contains(':') && named(key).is_some_and(|name| queue.matches(name))
}

fn named(key: &[u8]) -> Option<&[u8]> {
    let (namespace, name) = namespace_of(key);
    (namespace.len() + name.len() < key.len()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, is_queue: bool) {
        let queues = Queues::parse("queue:* *:queue:*", "*:busy:* queue:mine-*");
        assert_eq!(queues.is_queue(key.as_bytes()), is_queue, "{key}");
    }

    #[test]
    fn queues_are_told_from_other_lists() {
        check("queue:default", true);
        check("resque:queue:mail", true);
        check("queues", false);
        check("job:quarantine:imp:queue:default", false);
        check("working:queue:default", false);
        check("queue:sq|host:1|default", false);
        check("app:queue:busy:1", false);
        check("queue:mine-3", false);
        assert!(!Queues::parse("", "").is_queue(b"queue:default"));
    }

    #[test]
    fn a_key_is_split_before_its_last_mark() {
        for (key, namespace, name) in [
            ("resque:queue:mail", "resque:", "mail"),
            ("queue:default", "", "default"),
            ("a:queue:queue:b", "a:queue:", "b"),
            ("queue:myqueue:x", "", "myqueue:x"),
            ("myqueue:x", "", "myqueue:x"),
            ("queue:", "", ""),
            ("", "", ""),
        ] {
            assert_eq!(namespace_of(key.as_bytes()), (namespace.as_bytes(), name.as_bytes()), "{key}");
        }
    }

    #[test]
    fn a_word_means_the_name_of_a_queue() {
        for (queue, key, means) in [
            ("default", "queue:default", true),
            ("imp*", "resque:queue:imports", true),
            ("queue:default", "queue:default", true),
            ("queue:*", "queue:default", true),
            ("resque:queue:*", "queue:default", false),
            ("queue:default", "resque:queue:default", false),
            ("default", "queue:default2", false),
            ("tasks", "tasks", true),
            ("*", "anything", true),
        ] {
            assert_eq!(queue_matches(queue, key.as_bytes()), means, "{queue} {key}");
        }
    }
}
