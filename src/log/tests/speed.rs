//! How long an append takes. Run by hand: `cargo test --release --lib log::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement, not a proof"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn nanoseconds_per_frame() {
    for (policy, recycles) in [(SyncPolicy::Everysec, true), (SyncPolicy::Everysec, false), (SyncPolicy::Always, true)]
    {
        for frames_per_turn in [1, 16, 64] {
            let dir = tempfile::tempdir().expect("a directory");
            let (mut log, ..) = open_well(&Options { policy, segment_bytes: SEGMENT_BYTES, ..options(dir.path()) });
            let mut buffer = log.frame_buffer();
            let ops = [7_u8; 330];
            let turns = 1_500_000 / frames_per_turn;
            let mut slowest = 0;
            let begun = Instant::now();
            for turn in 0..turns {
                let turn_begun = Instant::now();
                for _ in 0..frames_per_turn {
                    add(&mut buffer, &ops);
                }
                log.append(&mut buffer).expect("appended");
                slowest = slowest.max(turn_begun.elapsed().as_micros());
                if recycles && turn % 1000 == 0 {
                    log.trim(log.durable());
                }
            }
            let per_frame = begun.elapsed().as_nanos() / (turns * frames_per_turn) as u128;
            println!(
                "{policy:?}, recycles {recycles}, {frames_per_turn} frames a turn: {per_frame} ns a frame, slowest turn {slowest} µs"
            );
        }
    }
}
