//! What is measured, and at which size.

use crate::jobs::{CUSTOMERS, Layout};
use std::time::Duration;

const PARTS: [&str; 3] = ["backlog", "million", "redis"];

pub struct Options {
    pub jobs: u64,
    pub layouts: Vec<Layout>,
    pub rounds: usize,
    pub parts: Vec<String>,
    /// Whether claims that do not hold are an error.
    pub asserted: bool,
    maxmemory: String,
    profile: Option<String>,
    /// How often a command is asked that answers in milliseconds, and DRYRUN, whose interval is judged besides.
    pub calls: usize,
    pub dry_runs: usize,
    /// How often the solid million is made.
    pub repeats: usize,
    /// The span without a sweep, and the least time that workers pop with a rule in force.
    pub quiet: Duration,
    pub shift_min: Duration,
}

impl Options {
    /// Reads the command line; `cargo test --benches` comes without `--bench`, and then little is enough.
    pub fn parse(arguments: &[String]) -> Options {
        let measured = arguments.iter().any(|argument| argument == "--bench");
        let mut options = Options {
            jobs: if measured { 10_000_000 } else { 20_000 },
            layouts: if measured { Layout::MEASURED.to_vec() } else { vec![Layout::Spread] },
            rounds: if measured { 7 } else { 1 },
            parts: PARTS.map(String::from).to_vec(),
            asserted: false,
            maxmemory: "256mb".to_owned(),
            profile: None,
            calls: if measured { 21 } else { 3 },
            dry_runs: if measured { 100 } else { 5 },
            repeats: if measured { 3 } else { 1 },
            quiet: if measured { Duration::from_secs(10) } else { Duration::from_millis(300) },
            shift_min: if measured { Duration::from_secs(2) } else { Duration::from_millis(300) },
        };
        let mut words = arguments.iter().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match &**word {
                "--jobs" => options.jobs = value().replace('_', "").parse().expect("--jobs takes a number"),
                "--layouts" => options.layouts = value().split(',').map(layout).collect(),
                "--rounds" => options.rounds = value().parse().expect("--rounds takes a number"),
                "--maxmemory" => options.maxmemory = value().clone(),
                "--profile" => options.profile = Some(value().clone()),
                "--parts" => options.parts = value().split(',').map(String::from).collect(),
                "--assert" => options.asserted = true,
                "--bench" => {}
                other => panic!(
                    "unknown option {other}; there are --jobs --layouts --rounds --maxmemory --profile --parts --assert"
                ),
            }
        }
        for part in &options.parts {
            assert!(PARTS.contains(&&**part), "there is no part {part}; there are {PARTS:?}");
        }
        let rounds_max = CUSTOMERS.len();
        assert!((1..=rounds_max).contains(&options.rounds), "--rounds takes 1 to {rounds_max}, a customer each");
        assert!(options.jobs >= 20_000, "--jobs takes 20000 at least, for each customer to have some");
        options
    }

    pub fn has_part(&self, part: &str) -> bool {
        self.parts.iter().any(|asked| asked == part)
    }

    pub fn server_flags(&self) -> Vec<&str> {
        let mut flags = vec!["--maxmemory", &self.maxmemory, "--appendfsync", "everysec"];
        if let Some(profile) = &self.profile {
            flags.extend(["--profile", profile]);
        }
        flags
    }

    /// How many jobs the workers may take in one round, so that rounds see the same backlog.
    pub fn jobs_per_shift(&self) -> u64 {
        self.jobs / 50
    }

    /// How many bad jobs stand at the pop end in the part that is called a million.
    pub fn bad_jobs(&self) -> u64 {
        self.jobs.min(1_000_000)
    }
}

fn layout(name: &str) -> Layout {
    let known = Layout::MEASURED.into_iter().find(|layout| layout.name() == name);
    known.unwrap_or_else(|| panic!("there is no layout {name}; there are spread, clustered, solid"))
}
