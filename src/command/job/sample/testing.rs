//! What tests of commands that read need.

use bytes::Bytes;

use crate::command::Within;
pub use crate::command::testing::Bench;
use crate::job::Summary;
use crate::resp::{Reply, split_words};

/// A bench whose chunks hold so many bytes.
pub fn bench(chunk_bytes: usize) -> Bench {
    let mut bench = Bench::default();
    bench.keys.sizes.chunk_bytes = chunk_bytes;
    // Every chunk that is closed goes to disk.
    bench.keys.sizes.inline_bytes_max = 0;
    bench
}

/// Pushes jobs to the left of a queue, as Sidekiq does.
pub fn push<T: AsRef<[u8]>>(bench: &mut Bench, key: &str, jobs: impl IntoIterator<Item = T>) {
    for job in jobs {
        let request = [
            Bytes::from_static(b"LPUSH"),
            Bytes::copy_from_slice(key.as_bytes()),
            Bytes::copy_from_slice(job.as_ref()),
        ];
        bench.request(&request).expect("a push ends well");
    }
}

/// Saves everything, so that chunks have summaries.
pub fn summarize(bench: &mut Bench) {
    let last = bench.lsn;
    bench.keys.begin_turn(bench.now_ms);
    while let Some(mut save) = bench.keys.capture(last, u64::MAX, 1 << 20) {
        for chunk in save.spills.iter_mut().flat_map(|spill| &mut spill.chunks) {
            let items = (0..chunk.body.len() as u32).map(|index| chunk.body.item(index));
            chunk.summary = Some(Summary::of(items).into());
        }
        bench.keys.committed(save);
    }
}

/// Runs a request line to its reply, however much it reads.
pub fn tell(bench: &mut Bench, line: &str) -> Reply {
    let within = std::mem::replace(&mut bench.within, Within::Transaction);
    let request = split_words(line.as_bytes()).expect("the line's quotes are balanced");
    let reply = bench.request(&request).unwrap_or_else(|stop| panic!("{line}: {stop:?}"));
    bench.within = within;
    reply
}

/// A value of a reply that is a map.
#[track_caller]
pub fn field(reply: &Reply, name: &str) -> Reply {
    let Reply::Map(pairs) = reply else { panic!("{reply:?} is no map") };
    let found = pairs.iter().find(|(key, _)| *key == Reply::bulk(name));
    found.unwrap_or_else(|| panic!("{name} is not in {reply:?}")).1.clone()
}

/// A number of a reply that is a map.
#[track_caller]
pub fn figure(reply: &Reply, name: &str) -> i64 {
    match field(reply, name) {
        Reply::Integer(number) => number,
        other => panic!("{name} is {other:?}"),
    }
}

/// The elements of a reply that is an array.
#[track_caller]
pub fn elements(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(elements) => elements,
        other => panic!("{other:?} is no array"),
    }
}
