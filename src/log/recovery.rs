//! Reads the log at a start: finds where it goes on, where it ends, and whether that end is a tail or damage.
//!
//! A log is a chain of segments, each naming the frame that it follows. Frames are good while their checksums hold and their
//! numbers are consecutive. Where frame x should be and is not, the newest segment that follows x - 1 goes on. If there is
//! none, x was lost: after a power cut the kernel had written unsynced pages in any order, so good frames may stand behind
//! the hole. It is damage only if x was known to be on disk: a Synced frame further on says so, or the store's checkpoint.
//! Otherwise it is the tail that was never promised to anybody, and is cut: the next segment follows x - 1, which takes
//! whatever lies behind out of the chain for good.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::segment::{FoundFile, HEADER_BYTES, SegmentHeader, SegmentReader};
use super::tail::Retired;
use super::{Lsn, OpenError, Options, Visit};

/// How often progress is told, in bytes.
const PROGRESS_STEP_BYTES: u64 = 1 << 20;
/// A number further ahead than this is garbage: no log holds as many frames.
const LSN_AHEAD_MAX: u64 = 1 << 32;
/// How many bytes of supposed ordinary frames behind a hole are checked. They only make the report fuller, and jobs written
/// to look like frames could otherwise make it take forever.
const SURVEY_BYTES_MAX: u64 = 64 << 20;

/// Reports what a start found in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many frames were replayed, and how many bytes they take.
    pub frames: u64,
    pub bytes: u64,
    /// The first frame that was replayed, 0 if none.
    pub first: Lsn,
    /// The last frame in the log, replayed or already in the store.
    pub last: Lsn,
    /// The unsynced tail that was cut, if anything of it could be recognised.
    pub cut: Option<Cut>,
    /// What `repair` gave up.
    pub lost_by_repair: Option<Lost>,
}

/// The unsynced tail that a start cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub path: PathBuf,
    pub offset: u64,
    /// The first frame that is missing.
    pub lsn: Lsn,
    /// From the cut to the end of the last good frame behind it, over all segments.
    pub bytes: u64,
}

/// Frames that were known to be on disk and could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub path: PathBuf,
    pub offset: u64,
    pub first: Lsn,
    /// The last that is known of; numbers up to here are not used again.
    pub last: Lsn,
    pub bytes: u64,
}

/// A segment whose frames may be needed.
#[derive(Clone, Debug)]
pub(super) struct LiveSegment {
    pub path: PathBuf,
    pub bytes: u64,
    pub follows: Lsn,
    pub used_bytes: u64,
}

/// What the log consists of after it was read.
pub(super) struct Replayed {
    pub live: VecDeque<LiveSegment>,
    pub unused: Vec<Retired>,
    /// The last frame that the chain holds, and the number of the next one to be appended.
    pub last: Lsn,
    pub next: Lsn,
    pub recovered: Recovered,
}

/// Hands every frame after `options.replay_after` to `visit` and says how the log goes on.
pub(super) fn replay(
    options: &Options,
    files: Vec<FoundFile>,
    visit: &mut Visit<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Replayed, OpenError> {
    let chained: Vec<(&FoundFile, SegmentHeader)> =
        files.iter().filter_map(|file| file.header.map(|header| (file, header))).collect();
    // Of all segments that reach back far enough the newest is enough; older ones were trimmed, or cut off.
    let start = chained.iter().rposition(|(_, header)| header.follows <= options.replay_after);
    let mut walk = Walk::new(options, &chained[start.unwrap_or(0)..], visit, progress);
    if start.is_some() {
        walk.follow_chain()?;
    }
    let end = walk.end;
    let (known_durable, behind) = walk.survey()?;
    let mut recovered = Recovered { last: walk.last, ..walk.recovered };
    let mut next = walk.next;
    if known_durable >= next {
        let lost = Lost {
            path: walk.chained.get(end.index).map_or(options.dir.clone(), |(file, _)| file.path.clone()),
            offset: end.offset,
            first: next,
            last: known_durable,
            bytes: behind,
        };
        if !options.repair {
            return Err(OpenError::Damaged { path: lost.path, offset: lost.offset, lsn: lost.first, known_durable });
        }
        next = known_durable + 1;
        recovered.lost_by_repair = Some(lost);
    } else if behind > 0 {
        let (file, _) = walk.chained[end.index];
        recovered.cut = Some(Cut { path: file.path.clone(), offset: end.offset, lsn: next, bytes: behind });
    }
    let (live, last) = (walk.live, walk.last);
    let is_unused = |file: &&FoundFile| live.iter().all(|segment| segment.path != file.path);
    let unused =
        files.iter().filter(is_unused).map(|file| Retired { path: file.path.clone(), bytes: file.bytes }).collect();
    Ok(Replayed { live, unused, last, next, recovered })
}

/// A place in the chain: which segment, and where in it.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    offset: u64,
}

struct Walk<'a> {
    options: &'a Options,
    chained: &'a [(&'a FoundFile, SegmentHeader)],
    visit: &'a mut Visit<'a>,
    progress: &'a mut dyn FnMut(u64, u64),
    bytes_total: u64,
    bytes_done: u64,
    bytes_told: u64,
    live: VecDeque<LiveSegment>,
    last: Lsn,
    next: Lsn,
    /// Where the next frame should be and is not.
    end: Place,
    recovered: Recovered,
}

impl<'a> Walk<'a> {
    fn new(
        options: &'a Options,
        chained: &'a [(&'a FoundFile, SegmentHeader)],
        visit: &'a mut Visit<'a>,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Walk<'a> {
        Walk {
            options,
            chained,
            visit,
            progress,
            bytes_total: chained.iter().map(|(file, _)| file.bytes).sum(),
            bytes_done: 0,
            bytes_told: 0,
            live: VecDeque::new(),
            last: options.replay_after,
            next: options.replay_after + 1,
            end: Place { index: 0, offset: 0 },
            recovered: Recovered::default(),
        }
    }

    fn follow_chain(&mut self) -> Result<(), OpenError> {
        self.last = self.chained[0].1.follows;
        let mut index = 0;
        loop {
            self.read_segment(index)?;
            let goes_on = |(_, header): &(&FoundFile, SegmentHeader)| header.follows == self.last;
            match self.chained[index + 1..].iter().rposition(goes_on) {
                Some(further) => index += 1 + further,
                None => break,
            }
        }
        // What holds no frame is not needed; so starts in a row do not leave a row of empty segments.
        while self.live.back().is_some_and(|segment| segment.follows == self.last) {
            self.live.pop_back();
        }
        (self.progress)(self.bytes_total, self.bytes_total);
        Ok(())
    }

    fn read_segment(&mut self, index: usize) -> Result<(), OpenError> {
        let (file, header) = self.chained[index];
        let mut reader = open(file, header)?;
        let mut offset = HEADER_BYTES;
        self.next = header.first;
        while let Some(frame) = reader.frame_at(offset).map_err(OpenError::disk("read", &file.path))? {
            match frame.is_synced {
                // What it tells of has just been read.
                true if frame.lsn < self.next => {}
                false if frame.lsn == self.next => {
                    self.next += 1;
                    self.last = frame.lsn;
                    if frame.lsn > self.options.replay_after {
                        (self.visit)(frame.lsn, frame.ops)
                            .map_err(|source| OpenError::Replay { lsn: frame.lsn, source })?;
                        self.recovered.frames += 1;
                        self.recovered.bytes += frame.bytes();
                        if self.recovered.first == 0 {
                            self.recovered.first = frame.lsn;
                        }
                    }
                }
                _ => break,
            }
            offset += frame.bytes();
            let done = self.bytes_done + offset;
            if done >= self.bytes_told + PROGRESS_STEP_BYTES {
                self.bytes_told = done;
                (self.progress)(done, self.bytes_total);
            }
        }
        self.bytes_done += file.bytes;
        self.end = Place { index, offset };
        self.live.push_back(LiveSegment {
            path: file.path.clone(),
            bytes: file.bytes,
            follows: header.follows,
            used_bytes: offset,
        });
        Ok(())
    }

    /// Looks at what lies behind the end: up to which frame the log was known to be durable, and how many bytes of it can
    /// still be recognised.
    fn survey(&mut self) -> Result<(Lsn, u64), OpenError> {
        let mut known_durable = self.options.checkpoint_lsn.max(self.options.replay_after);
        if self.live.is_empty() && self.chained.is_empty() {
            // No log at all. If the store claims nothing beyond what it holds, it goes on from there.
            return Ok((known_durable, 0));
        }
        if let Some((_, header)) = self.chained.first() {
            // Whoever begins a segment has seen the frames before it; missing ones were trimmed or are lost.
            known_durable = known_durable.max(header.follows);
        }
        let numbers = self.next..self.next.saturating_add(LSN_AHEAD_MAX);
        let mut checked_bytes = 0;
        let mut behind = 0;
        for (index, &(file, header)) in self.chained.iter().enumerate().skip(self.end.index) {
            let from = if index == self.end.index { self.end.offset.max(HEADER_BYTES) } else { HEADER_BYTES };
            let mut reader = open(file, header)?;
            let mut look = || -> std::io::Result<u64> {
                let mut offset = from;
                let mut recognised = from;
                while let Some(at) = reader.next_candidate(offset, &numbers)? {
                    offset = at + 1;
                    let supposed = reader.frame_header_at(at)?.expect("a candidate has a header");
                    if !supposed.is_synced() {
                        if checked_bytes > SURVEY_BYTES_MAX {
                            continue;
                        }
                        checked_bytes += supposed.frame_bytes().min(reader.bytes);
                    }
                    if let Some(frame) = reader.frame_at(at)? {
                        if frame.is_synced {
                            known_durable = known_durable.max(frame.lsn);
                        }
                        offset = at + frame.bytes();
                        recognised = offset;
                    } else if at == from && supposed.lsn == numbers.start && !supposed.is_synced() {
                        // The frame that is missing, torn.
                        recognised = (at + supposed.frame_bytes()).min(reader.bytes);
                    }
                }
                Ok(recognised - from)
            };
            behind += look().map_err(OpenError::disk("read", &file.path))?;
        }
        Ok((known_durable, behind))
    }
}

fn open(file: &FoundFile, header: SegmentHeader) -> Result<SegmentReader, OpenError> {
    SegmentReader::open(&file.path, header.salt).map_err(OpenError::disk("open", &file.path))
}
