//! One frame: the effects of one command, EXEC or script, and what tells them from garbage.
//!
//! ```text
//! offset  bytes
//!      0      4  len    bytes of ops; the highest bit is set in a Synced frame
//!      4      4  crc32  of lsn and ops, seeded with the segment's salt and len
//!      8      8  lsn    the frame's own number; in a Synced frame the last number that is durable
//!     16    len  ops    opaque; in a Synced frame the segment's salt
//! ```
//! Persisted. Integers are little-endian. A Synced frame has no number of its own: it is the log's note to its next reader
//! that whatever is missing at or below its LSN was lost after it had been on disk.

use super::Lsn;

pub(super) const FRAME_HEADER_BYTES: usize = 16;
pub(super) const SYNCED_OPS_BYTES: usize = 8;
pub(super) const SYNCED_BYTES: usize = FRAME_HEADER_BYTES + SYNCED_OPS_BYTES;
/// The most that one frame can carry, in bytes: what is left of `len` when the mark of a Synced frame is taken out.
pub const OPS_BYTES_MAX: usize = (SYNCED_MARK - 1) as usize;
/// A buffer that grew beyond this in one turn gives the memory back after it.
const KEPT_BYTES_MAX: usize = 4 << 20;

const SYNCED_MARK: u32 = 1 << 31;

/// Collects the frames of one turn, so that one write carries them all.
///
/// `start`, write ops into `ops`, then `finish` or `discard`; at the end of the turn `Log::append`.
#[derive(Debug)]
pub struct FrameBuffer {
    /// Room for a Synced frame, then the frames. The checksums are filled in by `seal`, since only the append knows the
    /// segment and so the salt.
    bytes: Vec<u8>,
    open_frame_at: Option<usize>,
    first: Lsn,
    next: Lsn,
}

impl FrameBuffer {
    pub(super) fn new(next: Lsn) -> FrameBuffer {
        FrameBuffer { bytes: vec![0; SYNCED_BYTES], open_frame_at: None, first: next, next }
    }

    /// Begins a frame.
    pub fn start(&mut self) {
        assert!(self.open_frame_at.is_none(), "the frame before was neither finished nor discarded");
        self.open_frame_at = Some(self.bytes.len());
        self.bytes.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    }

    /// Gives the place where the ops of the begun frame go; they may only be added at the end.
    pub fn ops(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.open_frame_at.is_some(), "ops belong to a begun frame");
        &mut self.bytes
    }

    /// Counts the bytes of ops that the begun frame has so far.
    pub fn ops_len(&self) -> usize {
        self.open_frame_at.map_or(0, |at| self.bytes.len() - at - FRAME_HEADER_BYTES)
    }

    /// Ends the begun frame and returns the number that it will have in the log.
    pub fn finish(&mut self) -> Lsn {
        let ops_bytes = self.ops_len();
        let at = self.open_frame_at.take().expect("a frame is finished after it was begun");
        assert!(ops_bytes <= OPS_BYTES_MAX, "a frame is bounded by its length field");
        let lsn = self.next;
        self.bytes[at..at + 4].copy_from_slice(&(ops_bytes as u32).to_le_bytes());
        self.bytes[at + 8..at + 16].copy_from_slice(&lsn.to_le_bytes());
        self.next += 1;
        lsn
    }

    /// Forgets the begun frame: the command turned out to have no effect.
    pub fn discard(&mut self) {
        let at = self.open_frame_at.take().expect("a frame is discarded after it was begun");
        self.bytes.truncate(at);
    }

    /// Says whether the turn has had no effect so far.
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Counts the bytes that the finished and the begun frames will take in the log.
    pub fn len(&self) -> usize {
        self.bytes.len() - SYNCED_BYTES
    }

    /// Returns the number that the next finished frame will have.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    pub(super) fn first_lsn(&self) -> Lsn {
        self.first
    }

    /// Fills in the checksums for a segment with this salt.
    pub(super) fn seal(&mut self, salt: u64) {
        assert!(self.open_frame_at.is_none(), "a turn ends with no frame open");
        let mut rest = &mut self.bytes[SYNCED_BYTES..];
        while !rest.is_empty() {
            let ops_bytes = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
            let (frame, behind) = rest.split_at_mut(FRAME_HEADER_BYTES + ops_bytes);
            seal(frame, salt);
            rest = behind;
        }
    }

    /// Returns the sealed frames, with a Synced frame before them if one is owed.
    pub(super) fn sealed(&mut self, synced: Option<Lsn>, salt: u64) -> &[u8] {
        let Some(lsn) = synced else { return &self.bytes[SYNCED_BYTES..] };
        self.bytes[..SYNCED_BYTES].copy_from_slice(&synced_frame(lsn, salt));
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(SYNCED_BYTES);
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.first = self.next;
    }
}

/// Makes the frame that says that everything up to `lsn` is durable.
pub(super) fn synced_frame(lsn: Lsn, salt: u64) -> [u8; SYNCED_BYTES] {
    let mut frame = [0; SYNCED_BYTES];
    frame[..4].copy_from_slice(&(SYNCED_MARK | SYNCED_OPS_BYTES as u32).to_le_bytes());
    frame[8..16].copy_from_slice(&lsn.to_le_bytes());
    // The checksum alone would let one in four billion forgeries through, and jobs are written by strangers.
    frame[16..].copy_from_slice(&salt.to_le_bytes());
    seal(&mut frame, salt);
    frame
}

fn seal(frame: &mut [u8], salt: u64) {
    let len = u32::from_le_bytes(frame[..4].try_into().expect("four bytes"));
    let crc = checksum(len, &frame[8..], salt);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The salt makes frames of an earlier life of the segment invalid; a different seed always gives a different checksum for
/// the same bytes. The length is mixed in so that the rest can be summed in one go.
fn checksum(len: u32, lsn_and_ops: &[u8], salt: u64) -> u32 {
    const SPREAD: u32 = 0x9E37_79B1;
    let mut hasher = crc32fast::Hasher::new_with_initial(salt as u32 ^ len.wrapping_mul(SPREAD));
    hasher.update(lsn_and_ops);
    hasher.finalize()
}

/// What the first bytes of a frame say, believed by nobody until the checksum was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    len: u32,
    crc: u32,
    pub lsn: Lsn,
}

impl FrameHeader {
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> FrameHeader {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let lsn = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        FrameHeader { len: number(0), crc: number(4), lsn }
    }

    pub fn is_synced(&self) -> bool {
        self.len & SYNCED_MARK != 0
    }

    pub fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.len & !SYNCED_MARK)
    }

    /// Says whether the whole frame is what was once written with this salt.
    pub fn is_valid(&self, frame: &[u8], salt: u64) -> bool {
        checksum(self.len, &frame[8..], salt) == self.crc
            && (!self.is_synced() || frame[FRAME_HEADER_BYTES..] == salt.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header_of(frame: &[u8]) -> FrameHeader {
        FrameHeader::decode(frame[..FRAME_HEADER_BYTES].try_into().expect("a whole header"))
    }

    fn one_frame(ops: &[u8], salt: u64) -> Vec<u8> {
        let mut buffer = FrameBuffer::new(7);
        buffer.start();
        buffer.ops().extend_from_slice(ops);
        assert_eq!(buffer.finish(), 7);
        buffer.seal(salt);
        buffer.sealed(None, salt).to_vec()
    }

    proptest! {
        #[test]
        fn a_frame_is_valid_with_its_own_salt_and_with_no_other(ops: Vec<u8>, salt: u32, other: u32) {
            let frame = one_frame(&ops, u64::from(salt));
            let header = header_of(&frame);
            prop_assert_eq!(header.frame_bytes(), frame.len() as u64);
            prop_assert_eq!(header.lsn, 7);
            prop_assert!(!header.is_synced());
            prop_assert!(header.is_valid(&frame, u64::from(salt)));
            prop_assert_eq!(header.is_valid(&frame, u64::from(other)), salt == other);
        }

        #[test]
        fn a_flipped_bit_is_noticed(ops: Vec<u8>, salt: u64, bit: prop::sample::Index) {
            let mut frame = one_frame(&ops, salt);
            let bit = bit.index(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            let header = header_of(&frame);
            let whole = header.frame_bytes() == frame.len() as u64;
            prop_assert!(!whole || !header.is_valid(&frame, salt));
        }
    }

    #[test]
    fn a_synced_frame_is_told_apart_from_an_ordinary_one() {
        let frame = synced_frame(42, 99);
        let header = header_of(&frame);
        assert!(header.is_synced() && header.is_valid(&frame, 99) && !header.is_valid(&frame, 98));
        assert_eq!((header.lsn, header.frame_bytes()), (42, SYNCED_BYTES as u64));
    }

    #[test]
    fn a_discarded_frame_takes_neither_room_nor_a_number() {
        let mut buffer = FrameBuffer::new(1);
        buffer.start();
        buffer.ops().extend_from_slice(b"nothing came of it");
        buffer.discard();
        assert!(buffer.is_empty());
        assert_eq!((buffer.len(), buffer.next_lsn()), (0, 1));
        buffer.start();
        buffer.ops().push(1);
        assert_eq!(buffer.ops_len(), 1);
        assert_eq!(buffer.finish(), 1);
        assert!(!buffer.is_empty());
    }
}
