//! Many predicates at once.

use xxhash_rust::xxh3::xxh3_64;

use super::payload::Job;
use super::predicate::Predicate;

/// The predicates of rules in order of age. Those that name one class are found through it, so that a hundred of them cost
/// about as much as one.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    predicates: Vec<Predicate>,
    /// Hash of the class, index of the predicate; sorted.
    by_class: Vec<(u64, usize)>,
    /// Indexes of all others, ascending.
    others: Vec<usize>,
}

impl Matcher {
    /// Takes predicates, the oldest first.
    pub fn new(predicates: Vec<Predicate>) -> Matcher {
        let (mut by_class, mut others) = (Vec::new(), Vec::new());
        for (index, predicate) in predicates.iter().enumerate() {
            match predicate.exact_class() {
                Some(class) => by_class.push((xxh3_64(class.as_bytes()), index)),
                None => others.push(index),
            }
        }
        by_class.sort_unstable();
        Matcher { predicates, by_class, others }
    }

    /// The predicates in the order in which they were given.
    pub fn predicates(&self) -> &[Predicate] {
        &self.predicates
    }

    /// Tells that jobs of this queue need not be looked at.
    pub fn needs_nothing_for(&self, queue: &[u8]) -> bool {
        !self.predicates.iter().any(|predicate| predicate.covers_queue(queue))
    }

    /// Answers the index of the oldest predicate that matches. `pushed_by_ms` gives for a predicate what
    /// [`Predicate::matches`] takes, and is asked only if time matters to it.
    pub fn first_match(
        &self,
        queue: &[u8],
        job: &Job<'_>,
        now_ms: u64,
        pushed_by_ms: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let matches = |index: &usize| {
            let predicate = &self.predicates[*index];
            let pushed_by_ms = if predicate.asks_time_of_push() { pushed_by_ms(*index) } else { 0 };
            predicate.matches(queue, job, now_ms, pushed_by_ms)
        };
        let named = self.of_class(job).iter().map(|(_, index)| *index).find(matches);
        let older_than_named = self.others.iter().copied().take_while(|index| named.is_none_or(|named| *index < named));
        older_than_named.into_iter().find(matches).or(named)
    }

    /// The predicates that name the class of this job, and any that share its hash.
    fn of_class(&self, job: &Job<'_>) -> &[(u64, usize)] {
        if self.by_class.is_empty() {
            return &[];
        }
        let hash = match job.early_class() {
            Some(class) => xxh3_64(class),
            None => match job.class() {
                Some(class) => xxh3_64(class.as_bytes()),
                None => return &[],
            },
        };
        let start = self.by_class.partition_point(|(other, _)| *other < hash);
        let count = self.by_class[start..].iter().take_while(|(other, _)| *other == hash).count();
        &self.by_class[start..start + count]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(texts: &[&str]) -> Matcher {
        let parse = |text: &&str| Predicate::parse(&text.split(' ').collect::<Vec<_>>(), 10, &[]).unwrap().0;
        Matcher::new(texts.iter().map(parse).collect())
    }

    #[track_caller]
    fn check(texts: &[&str], payload: &str, found: Option<usize>) {
        let job = Job::new(payload.as_bytes());
        assert_eq!(matcher(texts).first_match(b"queue:a", &job, 10, |_| 10), found, "{texts:?} {payload}");
    }

    #[test]
    fn of_several_rules_the_oldest_acts() {
        let a = r#"{"class":"A","args":[{"x":1}]}"#;
        check(&["CLASS A", "CLASS A"], a, Some(0));
        check(&["CLASS B", "CLASS A", "CLASS A*"], a, Some(1));
        check(&["CLASS B", "CLASS A*", "CLASS A"], a, Some(1));
        check(&["CLASS A ARG x=2", "ARG x=1", "CLASS A"], a, Some(1));
        check(&["CLASS B", "QUEUE b ALL", "CLASS A"], a, Some(2));
        check(&["CLASS B", "ALL"], a, Some(1));
        check(&["CLASS B"], a, None);
        check(&[], a, None);
        check(&["CLASS A", "ALL"], r#"{"class":"A""#, Some(1));
        check(&["CLASS A"], r#"{"class":"A","class":"B"}"#, None);
        check(&["CLASS A"], r#"{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"A"}"#, Some(0));
    }

    #[test]
    fn a_queue_that_no_rule_covers_needs_nothing() {
        let matcher = matcher(&["QUEUE a CLASS A", "QUEUE b ALL"]);
        assert!(!matcher.needs_nothing_for(b"queue:a") && !matcher.needs_nothing_for(b"x:queue:b"));
        assert!(matcher.needs_nothing_for(b"queue:c"));
        assert!(Matcher::default().needs_nothing_for(b"queue:a"));
    }

    #[test]
    fn the_time_of_push_is_asked_only_where_it_matters() {
        let job = Job::new(br#"{"class":"A"}"#);
        assert_eq!(matcher(&["CLASS A", "BEFORE 5"]).first_match(b"queue:a", &job, 10, |_| panic!("asked")), Some(0));
        let pushed_by_ms = |index: usize| if index == 1 { 5000 } else { 5001 };
        assert_eq!(matcher(&["BEFORE 5", "BEFORE 5"]).first_match(b"queue:a", &job, 10, pushed_by_ms), Some(1));
    }

    proptest! {
        #[test]
        fn the_index_changes_nothing(order in prop::collection::vec(0usize..8, 0..12), class in "[AB]{1,2}", x in 0..3) {
            let texts = ["CLASS A", "CLASS B", "CLASS AB", "CLASS A*", "ARG x=1", "CLASS B ARG x=2", "QUEUE b ALL", "CLASS ?"];
            let matcher = matcher(&order.iter().map(|index| texts[*index]).collect::<Vec<_>>());
            let payload = format!(r#"{{"class":"{class}","args":[{{"x":{x}}}]}}"#);
            let job = Job::new(payload.as_bytes());
            let plainly = matcher.predicates().iter().position(|predicate| predicate.matches(b"queue:a", &job, 10, 10));
            prop_assert_eq!(matcher.first_match(b"queue:a", &job, 10, |_| 10), plainly);
        }
    }
}
