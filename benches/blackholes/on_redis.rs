//! The same removal on Redis: a script that rewrites the list, and LREM of one job after the other.

use crate::filling::{QUEUE, check_whole, fill};
use crate::harness::{Client, Server};
use crate::jobs::{CUSTOMERS, Jobs, Kind, Layout};
use crate::options::Options;
use crate::prober::{self, Latencies};
use crate::report::{Heading, Report, grouped};
use std::thread;
use std::time::{Duration, Instant};

const REMOVING: Heading = Heading {
    title: "The same removal on Redis, of a tenth of the jobs: a whole backlog has ten times the jobs and ten times the matches, \
            so the script takes about ten times as long, LREM about a hundred times.",
    columns: &[
        "layout",
        "jobs",
        "matches",
        "p99 quiet ms",
        "Lua s",
        "p99 during it, ms",
        "most ms",
        "refused with BUSY",
        "LREM s",
        "of jobs",
        "LREM of all matches, s",
        "p99 during LREM, ms",
    ],
};

/// Redis has to hold all of it, twice while the script runs.
const JOBS_DIVISOR: u64 = 10;
const LREM_JOBS: u64 = 100;
const SCRIPT_WAIT_MAX: Duration = Duration::from_secs(600);

/// What people write at three in the morning: kept jobs go to a new list, page by page, which then takes the old one's name.
const REWRITE: &str = r#"
local kept, removed = KEYS[1] .. ':kept', 0
for first = 0, redis.call('LLEN', KEYS[1]) - 1, 1000 do
  local keep = {}
  for _, payload in ipairs(redis.call('LRANGE', KEYS[1], first, first + 999)) do
    -- Most jobs are of another class, and a search is cheaper than decoding.
    if string.find(payload, '"class":"' .. ARGV[1] .. '"', 1, true)
        and cjson.decode(payload).args[1].customer_id == tonumber(ARGV[2]) then
      removed = removed + 1
    else
      keep[#keep + 1] = payload
    end
  end
  if #keep > 0 then
    redis.call('RPUSH', kept, unpack(keep))
  end
end
redis.call('RENAME', kept, KEYS[1])
return removed
"#;

pub fn measure(layout: Layout, options: &Options, report: &mut Report) {
    let server = Server::redis(&["--appendfsync", "everysec"]);
    let mut control = server.client();
    control.set_timeout(SCRIPT_WAIT_MAX);
    let jobs = Jobs::new(options.jobs / JOBS_DIVISOR, layout, 4 + layout as u64);
    let rule = Kind::bad(CUSTOMERS[0]);
    let matches = (0..jobs.count()).filter(|n| jobs.kind(*n) == rule).collect::<Vec<_>>();
    fill(&mut control, QUEUE, &jobs, 0..jobs.count());

    let ((), quiet) = prober::beside(server.port(), || thread::sleep(options.quiet));
    let step = (matches.len() / LREM_JOBS as usize).max(2);
    let removed = matches.iter().copied().step_by(step).take(LREM_JOBS as usize).collect::<Vec<_>>();
    let (lrem, lrem_latencies) = prober::beside(server.port(), || remove_each(&mut control, &jobs, &removed));
    let left = matches.len() - removed.len();
    let (script, script_latencies) = prober::beside(server.port(), || rewrite(&mut control, rule, left as i64));

    let expected = (0..jobs.count()).rev().filter(|n| jobs.kind(*n) != rule);
    check_whole(&mut control, QUEUE, &jobs, expected);
    let ms = |latencies: &Latencies| format!("{:.2}", latencies.p99_ms());
    let each = lrem.as_secs_f64() / removed.len() as f64;
    report.row(
        &REMOVING,
        vec![
            layout.name().to_owned(),
            grouped(jobs.count()),
            grouped(matches.len() as u64),
            ms(&quiet),
            format!("{:.2}", script.as_secs_f64()),
            ms(&script_latencies),
            format!("{:.0}", script_latencies.most_ms()),
            grouped(script_latencies.refused),
            format!("{:.2}", lrem.as_secs_f64()),
            removed.len().to_string(),
            format!("{:.1}", each * matches.len() as f64),
            ms(&lrem_latencies),
        ],
    );
}

/// LREM as Sidekiq's own `job.delete` does it: one from the back.
fn remove_each(control: &mut Client, jobs: &Jobs, numbers: &[u64]) -> Duration {
    let payloads = numbers.iter().map(|n| jobs.payload(*n)).collect::<Vec<_>>();
    let began = Instant::now();
    for payload in payloads {
        let removed = control.must(&[b"LREM".as_slice(), QUEUE.as_bytes(), b"1", &payload]).integer();
        assert_eq!(removed, 1, "the job was there");
    }
    began.elapsed()
}

fn rewrite(control: &mut Client, rule: Kind, matches: i64) -> Duration {
    let customer = rule.customer.to_string();
    let began = Instant::now();
    let reply = control.must(&["EVAL", REWRITE, "1", QUEUE, rule.class, &customer]);
    let time = began.elapsed();
    assert_eq!(reply.integer(), matches, "the script removes what matches");
    time
}
