//! What a busy store costs, measured: `cargo test --lib NAME -- --ignored --nocapture`.
//!
//! One at a time, since they ask the process for its memory. No time is asserted.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use super::suite::{chunks, files, noise};
use super::{ChunkId, FjallStore, Space, Store, Write};

/// The cache's share of the default memory budget.
const CACHE_BYTES: u64 = 12 << 20;

#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn now() -> Instant {
    Instant::now()
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field exists");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}

fn used(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files(directory).iter().filter_map(|(path, _)| path.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

fn report(name: &str, store: &FjallStore, directory: &Path) {
    println!(
        "{name}: rss {} kB (peak {}), files {}, on disk {} MB (says {}), descriptors {}",
        status("VmRSS"),
        status("VmHWM"),
        files(directory).len(),
        used(directory) >> 20,
        store.disk_bytes() >> 20,
        descriptors(),
    );
}

fn spread(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name}: median {:?}, p99 {:?}, worst {:?}, of {}", at(0.5), at(0.99), at(1.0), times.len());
}

#[test]
#[ignore = "writes 3 GB"]
fn a_busy_store_stays_small() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
    report("empty", &store, directory.path());
    let mut batch = chunks(0, 128, 65_536);
    let (mut ingests, mut commits, mut drops, mut reads) = (vec![], vec![], vec![], vec![]);
    let start = now();
    for number in 0..384u64 {
        batch.iter_mut().for_each(|(_, chunk)| chunk[..8].copy_from_slice(&number.to_be_bytes()));
        let before = now();
        store.ingest(number, &batch).expect("ingests");
        ingests.push(before.elapsed());
        let rows = (0..1_000u64).map(|row| {
            let key = [(number % 7).to_be_bytes(), (number * 1_000 + row).to_be_bytes()].concat();
            Write::put(Space::Dir, key, noise(row, 60))
        });
        let before = now();
        store.commit(rows.collect()).expect("commits");
        commits.push(before.elapsed());
        if number == 199 {
            report("200 batches", &store, directory.path());
        }
        if number >= 200 {
            for index in 0..128 {
                let before = now();
                let chunk = store.chunk(ChunkId::new(number - 200, index)).expect("reads");
                reads.push(before.elapsed());
                assert_eq!(chunk.expect("is there")[..8], (number - 200).to_be_bytes());
            }
            let before = now();
            store.drop_batch(number - 200).expect("drops");
            drops.push(before.elapsed());
        }
    }
    println!("3 GB in {:?}", start.elapsed());
    spread("ingest of 8 MB", ingests);
    spread("commit of 1,000 rows", commits);
    spread("drop", drops);
    spread("chunk, in order", reads);
    report("200 batches left", &store, directory.path());
    for batch in 184..384 {
        store.drop_batch(batch).expect("drops");
    }
    report("all dropped", &store, directory.path());
    let before = now();
    store.reopen().expect("opens");
    println!("reopened in {:?}", before.elapsed());
    let mut rows = 0;
    let count = &mut |_: &[u8], _: &[u8]| {
        rows += 1;
        ControlFlow::Continue(())
    };
    store.scan(Space::Dir, b"", count).expect("scans");
    assert_eq!(rows, 384_000);
    report("reopened", &store, directory.path());
}

#[test]
#[ignore = "writes 4 GB"]
fn point_reads_over_500_tables() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
    let batch = chunks(0, 128, 65_536);
    for number in 0..500 {
        store.ingest(number, &batch).expect("ingests");
    }
    report("500 tables", &store, directory.path());
    let mut reads = vec![];
    for read in 0..20_000u64 {
        let random = noise(read, 16);
        let batch = u64::from_be_bytes(random[..8].try_into().expect("eight bytes")) % 500;
        let before = now();
        let chunk = store.chunk(ChunkId::new(batch, u32::from(random[9]) % 128)).expect("reads");
        reads.push(before.elapsed());
        assert!(chunk.is_some());
    }
    spread("chunk, anywhere", reads);
    report("read", &store, directory.path());
    let before = now();
    store.reopen().expect("opens");
    println!("reopened in {:?}", before.elapsed());
    report("reopened", &store, directory.path());
}

#[test]
#[ignore = "takes a minute"]
fn ingestion_among_10000_tables() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
    let batch = chunks(0, 1, 4_096);
    for round in 0..10u64 {
        let mut ingests = vec![];
        for number in round * 1_000..(round + 1) * 1_000 {
            let before = now();
            store.ingest(number, &batch).expect("ingests");
            ingests.push(before.elapsed());
        }
        spread(&format!("ingest of one chunk after {}", round * 1_000), ingests);
    }
    report("10,000 tables", &store, directory.path());
    let before = now();
    store.drop_batch(5_000).expect("drops");
    println!("drop {:?}", before.elapsed());
    let before = now();
    store.reopen().expect("opens");
    println!("reopened in {:?}", before.elapsed());
}
