//! Our decoder of requests beside the one of the `redis-protocol` crate, on what a read brings: 64 kB of LPUSH.
//!
//! `cargo bench --bench codec`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millpond::resp::{DecodeLimits, Decoder, Protocol, Reply, encode};

const LIMITS: DecodeLimits = DecodeLimits { bulk_bytes_max: 512 << 20, authenticated: true };

fn push(job_bytes: usize) -> Vec<u8> {
    let job = "x".repeat(job_bytes);
    format!("*3\r\n$5\r\nLPUSH\r\n$13\r\nqueue:default\r\n${job_bytes}\r\n{job}\r\n").into_bytes()
}

fn requests(criterion: &mut Criterion) {
    for (name, job_bytes, count) in [("1 of 300 B", 300, 1), ("16 of 300 B", 300, 16), ("1000 of 10 B", 10, 1000)] {
        let input = push(job_bytes).repeat(count);
        let mut group = criterion.benchmark_group(format!("decode {name}"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("ours", |bencher| {
            let mut decoder = Decoder::default();
            bencher.iter(|| {
                let mut requests = Vec::new();
                decoder.feed(black_box(&input), &LIMITS, &mut requests).expect("well formed");
                assert_eq!(requests.len(), count);
                requests
            });
        });
        group.bench_function("redis-protocol, bytes copied once", |bencher| {
            bencher.iter(|| {
                let mut buffer = Bytes::copy_from_slice(black_box(&input));
                let mut requests = Vec::new();
                while let Some((frame, read)) =
                    redis_protocol::resp2::decode::decode_bytes(&buffer).expect("well formed")
                {
                    let _ = buffer.split_to(read);
                    requests.push(arguments(frame));
                }
                assert_eq!(requests.len(), count);
                requests
            });
        });
        group.bench_function("redis-protocol, buffer read into", |bencher| {
            bencher.iter_batched(
                || BytesMut::from(&input[..]),
                |mut buffer| {
                    let mut requests = Vec::new();
                    while let Some((frame, _, _)) =
                        redis_protocol::resp2::decode::decode_bytes_mut(&mut buffer).expect("well formed")
                    {
                        requests.push(arguments(frame));
                    }
                    assert_eq!(requests.len(), count);
                    requests
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

/// What a turn is handed: the arguments alone.
fn arguments(frame: redis_protocol::resp2::types::BytesFrame) -> Vec<Bytes> {
    use redis_protocol::resp2::types::BytesFrame as Frame;
    let Frame::Array(frames) = frame else { panic!("requests are arrays") };
    let argument = |frame| match frame {
        Frame::BulkString(bytes) => bytes,
        _ => panic!("arguments are bulk strings"),
    };
    frames.into_iter().map(argument).collect()
}

fn replies(criterion: &mut Criterion) {
    let reply = Reply::Array((0..50).map(|index| Reply::bulk(format!("job {index} {}", "x".repeat(300)))).collect());
    let mut output = Vec::new();
    criterion.bench_function("encode LRANGE of 50 jobs", |bencher| {
        bencher.iter(|| {
            output.clear();
            encode(black_box(&reply), Protocol::Resp3, &mut output);
            output.len()
        });
    });
    criterion.bench_function("encode :1", |bencher| {
        bencher.iter(|| {
            output.clear();
            encode(black_box(&Reply::Integer(1_234)), Protocol::Resp2, &mut output);
            output.len()
        });
    });
}

criterion_group!(benches, requests, replies);
criterion_main!(benches);
