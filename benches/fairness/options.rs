//! What is measured, and at which size.

use crate::million::Layout;
use std::time::Duration;

const PARTS: [&str; 7] = ["curves", "shares", "runtime", "limits", "adaptive", "slo", "million"];

pub struct Options {
    pub parts: Vec<String>,
    /// Whether claims that do not hold are an error.
    pub asserted: bool,
    /// Whether the plots of the curves are written.
    pub plotted: bool,
    /// Jobs of the curves are divided by this, and so are those of the shares.
    pub divisor: usize,
    /// How long a job of the curves takes, and one of the shares.
    pub work: Duration,
    pub short_work: Duration,
    /// How long a rate is watched, and how long a queue of which nothing may go.
    pub watched: Duration,
    pub idle: Duration,
    /// Of the part with a million tenants, who have ten each.
    pub jobs: u64,
    pub layouts: Vec<Layout>,
    pub maxmemory: String,
    /// How often a command that reads the list is asked meanwhile.
    pub look_interval: Duration,
}

impl Options {
    /// Reads the command line; `cargo test --benches` comes without `--bench`, and then little is enough.
    pub fn parse(arguments: &[String]) -> Options {
        let measured = arguments.iter().any(|argument| argument == "--bench");
        let millis = |full, little| Duration::from_millis(if measured { full } else { little });
        let mut options = Options {
            parts: PARTS.map(String::from).to_vec(),
            asserted: false,
            plotted: false,
            divisor: if measured { 1 } else { 100 },
            work: millis(100, 5),
            short_work: millis(20, 1),
            watched: millis(60_000, 300),
            idle: millis(5_000, 100),
            jobs: if measured { 10_000_000 } else { 20_000 },
            layouts: Layout::ALL.to_vec(),
            maxmemory: "256mb".to_owned(),
            look_interval: millis(1_000, 50),
        };
        let mut words = arguments.iter().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match &**word {
                "--parts" => options.parts = value().split(',').map(String::from).collect(),
                "--divisor" => options.divisor = value().parse().expect("--divisor takes a number"),
                "--jobs" => options.jobs = value().replace('_', "").parse().expect("--jobs takes a number"),
                "--layouts" => options.layouts = value().split(',').map(Layout::named).collect(),
                "--maxmemory" => options.maxmemory = value().clone(),
                "--assert" => options.asserted = true,
                "--plots" => options.plotted = true,
                "--bench" => {}
                other => panic!(
                    "unknown option {other}; there are --parts --divisor --jobs --layouts --maxmemory --assert --plots"
                ),
            }
        }
        for part in &options.parts {
            assert!(PARTS.contains(&&**part), "there is no part {part}; there are {PARTS:?}");
        }
        options
    }

    pub fn has_part(&self, part: &str) -> bool {
        self.parts.iter().any(|asked| asked == part)
    }
}
