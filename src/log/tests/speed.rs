//! How long an append takes. Run by hand: `cargo test --release --lib log::tests::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

const OPS: [u8; 330] = [7; 330];

#[test]
#[ignore = "a measurement, not a proof"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn nanoseconds_per_frame() {
    for policy in [SyncPolicy::Everysec, SyncPolicy::Always, SyncPolicy::No] {
        for frames_per_turn in [1, 16, 64] {
            let dir = tempfile::tempdir().expect("a directory");
            let (mut log, ..) = open_well(&Options { policy, segment_bytes: SEGMENT_BYTES, ..options(dir.path()) });
            let mut buffer = log.frame_buffer();
            std::thread::sleep(Duration::from_secs(1));
            let turns = 150_000 / frames_per_turn;
            let begun = Instant::now();
            (0..turns).for_each(|_| turn(&mut log, &mut buffer, frames_per_turn));
            let per_frame = begun.elapsed().as_nanos() / (turns * frames_per_turn) as u128;
            println!("{policy:?}, {frames_per_turn} frames a turn: {per_frame} ns a frame");
        }
    }
}

#[test]
#[ignore = "a measurement, not a proof"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn stalls_at_a_steady_pace() {
    for (pace, frames_per_turn) in [(Duration::from_micros(1000), 64), (Duration::from_micros(250), 64)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, ..) =
            open_well(&Options { policy: SyncPolicy::Everysec, segment_bytes: SEGMENT_BYTES, ..options(dir.path()) });
        let mut buffer = log.frame_buffer();
        let begun = Instant::now();
        let mut times = Vec::new();
        let mut noise = Vec::new();
        while begun.elapsed() < Duration::from_secs(15) {
            let before = Instant::now();
            turn(&mut log, &mut buffer, frames_per_turn);
            times.push(before.elapsed());
            // The same length of work that touches no file, to tell the machine's pauses from the log's.
            let (before, busy) = (Instant::now(), times[times.len() - 1]);
            while before.elapsed() < busy.min(Duration::from_micros(30)) {}
            noise.push(before.elapsed());
            if times.len() % 4096 == 0 {
                log.trim(log.durable());
            }
            std::thread::sleep(pace);
        }
        let mb = (times.len() * frames_per_turn * OPS.len()) >> 20;
        times.sort();
        noise.sort();
        let at = |times: &[Duration], part: f64| times[(times.len() as f64 * part) as usize];
        println!(
            "{} MB/s: median {:?}, 99 % {:?}, 99.9 % {:?}, slowest {:?}; of plain work 99.9 % {:?}, slowest {:?}",
            mb / 15,
            at(&times, 0.5),
            at(&times, 0.99),
            at(&times, 0.999),
            times[times.len() - 1],
            at(&noise, 0.999),
            noise[noise.len() - 1],
        );
    }
}

fn turn(log: &mut Log, buffer: &mut FrameBuffer, frames: usize) {
    for _ in 0..frames {
        add(buffer, &OPS);
    }
    log.append(buffer).expect("appended");
}

#[test]
#[ignore = "a measurement, not a proof"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn milliseconds_to_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for start in ["empty", "again", "with 100,000 frames", "once more"] {
        let begun = Instant::now();
        let (mut log, frames, _) = open_well(&Options { segment_bytes: SEGMENT_BYTES, ..options(dir.path()) });
        println!("{start}: {} ms, {} frames", begun.elapsed().as_millis(), frames.len());
        std::thread::sleep(Duration::from_secs(1));
        if start == "again" {
            let mut buffer = log.frame_buffer();
            (0..1000).for_each(|_| turn(&mut log, &mut buffer, 100));
        }
        let begun = Instant::now();
        log.close().expect("closed");
        println!("closed in {} ms", begun.elapsed().as_millis());
    }
}
