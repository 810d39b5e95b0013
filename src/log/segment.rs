//! A segment file: its name, its header, and how its frames are read.
//!
//! ```text
//! offset  bytes
//!      0      8  magic    "MILLPOND"
//!      8      4  format   1
//!     12      8  number   equal to the one in the file's name, or the file waits for its first or next use
//!     20      8  follows  LSN of the last frame before this segment
//!     28      8  first    LSN of the first frame in it; greater than follows + 1 only after a repair gave up frames
//!     36      8  salt     new for each use of the file
//!     44      4  crc32    of everything before
//! 4,096         the same once more: with the salt lost, no frame of the segment could be told from garbage
//! 8,192         frames
//! ```
//! Persisted. Integers are little-endian. Nothing marks the end of a segment: it ends where another one says that it
//! follows.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use super::{Lsn, OpenError};

/// Where the frames begin.
pub(super) const HEADER_BYTES: u64 = 2 * HEADER_COPY_AT;
/// A page apart, so that the loss of one page is not the loss of both.
const HEADER_COPY_AT: u64 = 4096;
const HEADER_USED_BYTES: usize = 48;
const MAGIC: &[u8; 8] = b"MILLPOND";
const FORMAT: u32 = 1;
/// How much is read from a segment at once.
const WINDOW_BYTES: usize = 256 << 10;

/// The file that the keeper is preparing; it gets a segment's name when it is done.
pub(super) const UNFINISHED_NAME: &str = "unfinished.part";

/// Names the file of a segment.
pub(super) fn file_name(number: u64) -> String {
    format!("log-{number:016}.seg")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    // Eighteen digits always fit, and leave room to count on.
    (all_digits && (16..=18).contains(&digits.len())).then(|| digits.parse().expect("eighteen digits fit"))
}

/// Draws the salt of a segment: different for each number under one seed, and for each seed.
pub(super) fn salt(seed: u64, number: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    };
    mix(seed ^ mix(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub number: u64,
    pub follows: Lsn,
    pub first: Lsn,
    pub salt: u64,
}

impl SegmentHeader {
    /// Writes both copies.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let mut bytes = [0; HEADER_BYTES as usize];
        for at in [0, HEADER_COPY_AT as usize] {
            bytes[at..at + HEADER_USED_BYTES].copy_from_slice(&self.encode(FORMAT));
        }
        file.write_all_at(&bytes, 0)
    }

    fn encode(&self, format: u32) -> [u8; HEADER_USED_BYTES] {
        let mut bytes = [0; HEADER_USED_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        for (index, field) in [self.number, self.follows, self.first, self.salt].into_iter().enumerate() {
            bytes[12 + 8 * index..20 + 8 * index].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads one copy: none if it is no header, and the format alone if that is unknown.
    fn decode(bytes: &[u8]) -> Option<Result<SegmentHeader, u32>> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let field =
            |index: usize| u64::from_le_bytes(bytes[12 + 8 * index..20 + 8 * index].try_into().expect("eight bytes"));
        if bytes.len() < HEADER_USED_BYTES || bytes[..8] != *MAGIC || word(44) != crc32fast::hash(&bytes[..44]) {
            return None;
        }
        if word(8) != FORMAT {
            return Some(Err(word(8)));
        }
        let header = SegmentHeader { number: field(0), follows: field(1), first: field(2), salt: field(3) };
        (header.first > header.follows).then_some(Ok(header))
    }
}

/// A file that is named like a segment.
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    pub number: u64,
    pub path: PathBuf,
    pub bytes: u64,
    /// None if the file is not in use: prepared for later, or its header never reached the disk.
    pub header: Option<SegmentHeader>,
}

/// Lists the segments in a directory by number, and looks at nothing else that lies there.
pub(super) fn list(dir: &Path) -> Result<Vec<FoundFile>, OpenError> {
    let failed = || OpenError::disk("list", dir);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let Some(number) = entry.file_name().to_str().and_then(number_of) else { continue };
        let path = entry.path();
        let metadata = entry.metadata().map_err(OpenError::disk("look at", &path))?;
        if !metadata.is_file() {
            continue;
        }
        let header = read_header(&path, number)?;
        found.push(FoundFile { number, path, bytes: metadata.len(), header });
    }
    found.sort_by_key(|file| file.number);
    Ok(found)
}

fn read_header(path: &Path, number: u64) -> Result<Option<SegmentHeader>, OpenError> {
    let file = File::open(path).map_err(OpenError::disk("open", path))?;
    for at in [0, HEADER_COPY_AT] {
        let mut bytes = [0; HEADER_USED_BYTES];
        match file.read_exact_at(&mut bytes, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(OpenError::disk("read the header of", path)(error)),
        }
        match SegmentHeader::decode(&bytes) {
            Some(Ok(header)) if header.number == number => return Ok(Some(header)),
            // A newer program's segment must not be taken for an unused file and written over.
            Some(Err(found)) => return Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT }),
            _ => {}
        }
    }
    Ok(None)
}

/// Reads the frames of one segment through a window.
pub(super) struct SegmentReader {
    file: File,
    pub bytes: u64,
    salt: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// A frame whose checksum was right.
pub(super) struct Frame<'a> {
    pub lsn: Lsn,
    pub is_synced: bool,
    pub ops: &'a [u8],
}

impl Frame<'_> {
    pub fn bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.ops.len()) as u64
    }
}

impl SegmentReader {
    pub fn open(path: &Path, salt: u64) -> io::Result<SegmentReader> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(SegmentReader { file, bytes, salt, window: Vec::new(), window_at: 0 })
    }

    /// Returns what the header of a frame at this offset would say, if the file goes on that long.
    pub fn frame_header_at(&mut self, offset: u64) -> io::Result<Option<FrameHeader>> {
        let bytes = self.bytes_at(offset, FRAME_HEADER_BYTES as u64)?;
        Ok(bytes.map(|bytes| FrameHeader::decode(bytes.try_into().expect("as many bytes as asked for"))))
    }

    /// Returns the frame at this offset, if a good one is there.
    pub fn frame_at(&mut self, offset: u64) -> io::Result<Option<Frame<'_>>> {
        let Some(header) = self.frame_header_at(offset)? else { return Ok(None) };
        let salt = self.salt;
        let Some(frame) = self.bytes_at(offset, header.frame_bytes())? else { return Ok(None) };
        let valid = header.is_valid(frame, salt);
        Ok(valid.then(|| Frame { lsn: header.lsn, is_synced: header.is_synced(), ops: &frame[FRAME_HEADER_BYTES..] }))
    }

    /// Finds the first offset from `offset` on where a frame with a plausible number might begin.
    pub fn next_candidate(&mut self, mut offset: u64, numbers: &std::ops::Range<Lsn>) -> io::Result<Option<u64>> {
        const LSN_ENDS_AT: usize = FRAME_HEADER_BYTES;
        while offset + LSN_ENDS_AT as u64 <= self.bytes {
            // What is left of the window comes first: old frames look like candidates by the thousand, and reading a whole
            // window for each made a start take seconds.
            let window_end = self.window_at + self.window.len() as u64;
            let left = if offset >= self.window_at { window_end.saturating_sub(offset) } else { 0 };
            let wanted = if left >= LSN_ENDS_AT as u64 { left } else { WINDOW_BYTES as u64 };
            let bytes = self.bytes_at(offset, (self.bytes - offset).min(wanted))?;
            let bytes = bytes.expect("the window ends with the file at the latest");
            let hit = bytes.windows(LSN_ENDS_AT).position(|header| {
                let lsn = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
                numbers.contains(&lsn)
            });
            match hit {
                Some(index) => return Ok(Some(offset + index as u64)),
                None => offset += (bytes.len() - LSN_ENDS_AT + 1) as u64,
            }
        }
        Ok(None)
    }

    /// Returns a range of the file, none if it goes past the end; so a length that is garbage costs at most one file's size.
    fn bytes_at(&mut self, offset: u64, bytes: u64) -> io::Result<Option<&[u8]>> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + bytes > window_end {
            let wanted = bytes.max(WINDOW_BYTES as u64).min(self.bytes - offset);
            self.window.clear();
            self.window.shrink_to(WINDOW_BYTES);
            self.window.resize(wanted as usize, 0);
            self.file.read_exact_at(&mut self.window, offset)?;
            self.window_at = offset;
        }
        let from = (offset - self.window_at) as usize;
        Ok(Some(&self.window[from..from + bytes as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_names_that_the_log_gives_are_segments() {
        assert_eq!(file_name(1), "log-0000000000000001.seg");
        for number in [1, 9_999_999_999_999_999, 10_000_000_000_000_000] {
            assert_eq!(number_of(&file_name(number)), Some(number));
        }
        for name in ["log-1.seg", "log-00000000000000x1.seg", "log-0000000000000001.seg~", UNFINISHED_NAME, ""] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_header_round_trips_and_a_flipped_bit_in_it_is_noticed(
            number: u64, follows in 0..u64::MAX, salt: u64, bit in 0..HEADER_USED_BYTES * 8,
        ) {
            let header = SegmentHeader { number, follows, first: follows + 1, salt };
            let mut bytes = header.encode(FORMAT);
            prop_assert_eq!(SegmentHeader::decode(&bytes), Some(Ok(header)));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&bytes), None);
        }
    }

    #[test]
    fn a_segment_of_a_newer_format_is_refused_not_reused() {
        let dir = tempfile::tempdir().expect("a directory");
        let header = SegmentHeader { number: 1, follows: 0, first: 1, salt: 5 };
        let mut bytes = vec![0; HEADER_BYTES as usize];
        bytes[..HEADER_USED_BYTES].copy_from_slice(&header.encode(FORMAT + 1));
        fs::write(dir.path().join(file_name(1)), bytes).expect("written");
        let refused = list(dir.path());
        assert!(matches!(refused, Err(OpenError::Format { found: 2, known: 1, .. })), "{refused:?}");
    }

    #[test]
    fn salts_differ_between_numbers_and_seeds() {
        let salts: std::collections::BTreeSet<u32> =
            (0..20).flat_map(|seed| (0..20).map(move |number| salt(seed, number) as u32)).collect();
        assert_eq!(salts.len(), 400);
    }
}
