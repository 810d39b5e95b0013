//! Requests as clients send them: arrays of bulk strings, and inline commands.
//!
//! Our own, because it is on the way of every request (`benches/codec.rs` compares it with the `redis-protocol` crate).
//! Three things shape it:
//! - Bytes are read into a buffer that all connections share. What was complete in one read is copied once, into one
//!   block of exactly that size, and the arguments are slices of it. So an idle connection holds no buffer, and a
//!   parked one pins no more than what it sent.
//! - Only an incomplete request is kept, with how far it was understood: no byte is looked at twice, however slowly
//!   the request arrives.
//! - Memory follows the bytes that arrived, never a length that was only announced.

use std::ops::Range;

use bytes::Bytes;

use super::Error;
use super::inline::split_words;

/// The longest line without an end that is waited for: an inline command, or a length. Redis' value.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most arguments of one request: each costs 48 bytes here, so this is as much as one client should get.
const ARGUMENTS_MAX: i64 = 1024 * 1024;
/// The most arguments, and the longest of them, before the client has given the password. Redis' values.
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: u64 = 16 * 1024;
/// An argument of this size or more pins at most twice its size, so whoever keeps it need not copy it. A shorter one
/// is a slice of everything that its client sent at once: copy it to keep it.
pub const OWN_BUFFER_BYTES_MIN: usize = 32 * 1024;
/// How many places of arguments an idle decoder keeps room for.
const IDLE_RANGES_MAX: usize = 64;

/// What a client may send.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// The longest argument, in bytes; the setting `proto-max-bulk-len`.
    pub bulk_bytes_max: u64,
    /// Before the password was given only small requests are taken.
    pub authenticated: bool,
}

/// Cuts the bytes of one connection into requests.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a request whose end has not arrived.
    pending: Vec<u8>,
    scan: Scan,
}

impl Decoder {
    /// Takes the next bytes of the connection and appends the requests that they complete.
    ///
    /// After an error the requests before the fault are in `requests`, and the decoder is of no further use: where
    /// the next request begins cannot be known.
    pub fn feed(&mut self, input: &[u8], limits: &DecodeLimits, requests: &mut Vec<Vec<Bytes>>) -> Result<(), Error> {
        if self.pending.is_empty() {
            let result = self.scan.run(input, limits);
            let (complete, rest) = input.split_at(self.scan.complete);
            self.scan.collect(|| Bytes::copy_from_slice(complete), requests);
            self.append(rest);
            return result;
        }
        self.append(input);
        let result = self.scan.run(&self.pending, limits);
        if self.scan.complete > 0 {
            // What follows arrived just now, so it is at most one read long, however long the request was.
            let rest = self.pending[self.scan.complete..].to_vec();
            let mut complete = std::mem::replace(&mut self.pending, rest);
            complete.truncate(self.scan.complete);
            if complete.capacity() - complete.len() > complete.len() / 4 {
                complete.shrink_to_fit();
            }
            self.scan.collect(|| Bytes::from(complete), requests);
        }
        result
    }

    /// How much memory an incomplete request holds.
    pub fn held_bytes(&self) -> usize {
        self.pending.capacity() + self.scan.ranges.len() * size_of::<Range<usize>>()
    }

    /// Grows by doubling, as bytes arrive, but never past the end of a bulk string whose length is known.
    fn append(&mut self, input: &[u8]) {
        let needed = self.pending.len() + input.len();
        if needed > self.pending.capacity() {
            let mut capacity = needed.max(self.pending.capacity() * 2);
            if let Some(end) = self.scan.bulk_end() {
                capacity = capacity.min(end.max(needed));
            }
            self.pending.reserve_exact(capacity - self.pending.len());
        }
        self.pending.extend_from_slice(input);
    }
}

/// How far the bytes were understood. All places count from the first byte that is kept.
#[derive(Debug, Default)]
struct Scan {
    /// Everything before this is understood.
    at: usize,
    /// There is no line end between `at` and this.
    searched: usize,
    stage: Stage,
    /// Where the arguments lie that were found, those of an incomplete request last.
    ranges: Vec<Range<usize>>,
    found: Vec<Found>,
    /// Where the last complete request ends.
    complete: usize,
}

#[derive(Debug, Default, Clone, Copy)]
enum Stage {
    /// A request begins here.
    #[default]
    Start,
    /// `$length` comes next.
    Length { arguments_left: i64 },
    /// So many bytes and a line end come next.
    Bulk { arguments_left: i64, length: usize },
}

#[derive(Debug)]
enum Found {
    /// Its arguments are the ranges up to this one.
    Array {
        ranges_end: usize,
    },
    Inline(Vec<Bytes>),
}

impl Scan {
    /// Goes on through `bytes` as far as they are understood.
    fn run(&mut self, bytes: &[u8], limits: &DecodeLimits) -> Result<(), Error> {
        loop {
            let advanced = match self.stage {
                Stage::Start => match bytes.get(self.at) {
                    None => false,
                    Some(b'*') => self.start_array(bytes, limits)?,
                    Some(_) => self.take_inline(bytes)?,
                },
                Stage::Length { arguments_left } => self.take_length(bytes, limits, arguments_left)?,
                Stage::Bulk { arguments_left, length } => self.take_bulk(bytes, arguments_left, length),
            };
            if !advanced {
                return Ok(());
            }
        }
    }

    fn start_array(&mut self, bytes: &[u8], limits: &DecodeLimits) -> Result<bool, Error> {
        let Some((count, next)) = self.number_line(bytes, "ERR Protocol error: too big mbulk count string")? else {
            return Ok(false);
        };
        let count = match count {
            Some(count) if count <= ARGUMENTS_MAX => count,
            _ => return Err(Error::new("ERR Protocol error: invalid multibulk length")),
        };
        if count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits.authenticated {
            return Err(Error::new("ERR Protocol error: unauthenticated multibulk length"));
        }
        self.advance(next);
        if count > 0 {
            self.stage = Stage::Length { arguments_left: count };
        } else {
            self.complete = next;
        }
        Ok(true)
    }

    fn take_length(&mut self, bytes: &[u8], limits: &DecodeLimits, arguments_left: i64) -> Result<bool, Error> {
        let Some((length, next)) = self.number_line(bytes, "ERR Protocol error: too big bulk count string")? else {
            return Ok(false);
        };
        let first = bytes[self.at];
        if first != b'$' {
            let shown = if first.is_ascii() { char::from(first) } else { '?' };
            return Err(Error::new(format!("ERR Protocol error: expected '$', got '{shown}'")));
        }
        let length = match length.map(u64::try_from) {
            Some(Ok(length)) if length <= limits.bulk_bytes_max => length,
            _ => return Err(Error::new("ERR Protocol error: invalid bulk length")),
        };
        if length > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.authenticated {
            return Err(Error::new("ERR Protocol error: unauthenticated bulk length"));
        }
        self.advance(next);
        self.stage = Stage::Bulk { arguments_left, length: length as usize };
        Ok(true)
    }

    fn take_bulk(&mut self, bytes: &[u8], arguments_left: i64, length: usize) -> bool {
        // As in Redis, the two bytes behind the string are not looked at.
        let end = self.at + length;
        if bytes.len() < end + 2 {
            return false;
        }
        self.ranges.push(self.at..end);
        self.advance(end + 2);
        if arguments_left > 1 {
            self.stage = Stage::Length { arguments_left: arguments_left - 1 };
        } else {
            self.stage = Stage::Start;
            self.complete = self.at;
            self.found.push(Found::Array { ranges_end: self.ranges.len() });
        }
        true
    }

    fn take_inline(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let Some(end) = self.find(b'\n', bytes) else {
            if bytes.len() - self.at > LINE_BYTES_MAX {
                return Err(Error::new("ERR Protocol error: too big inline request"));
            }
            return Ok(false);
        };
        let line = &bytes[self.at..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = split_words(line).ok_or_else(|| Error::new("ERR Protocol error: unbalanced quotes in request"))?;
        if !words.is_empty() {
            self.found.push(Found::Inline(words));
        }
        self.advance(end + 1);
        self.complete = self.at;
        Ok(true)
    }

    /// Reads the number behind the first byte of a line, and where the next line begins; `None` if the line is not
    /// complete, `Some((None, _))` if that is no number.
    fn number_line(&mut self, bytes: &[u8], too_long: &'static str) -> Result<Option<(Option<i64>, usize)>, Error> {
        if let Some((number, next)) = short_number(bytes, self.at + 1) {
            return Ok(Some((Some(number), next)));
        }
        match self.find(b'\r', bytes) {
            Some(end) if end + 1 < bytes.len() => {
                // The line may be empty, without even the byte that should say what it is.
                let digits = bytes.get(self.at + 1..end).unwrap_or_default();
                Ok(Some((parse_number(digits), end + 2)))
            }
            Some(_) => Ok(None),
            None if bytes.len() - self.at > LINE_BYTES_MAX => Err(Error::new(too_long)),
            None => Ok(None),
        }
    }

    fn find(&mut self, wanted: u8, bytes: &[u8]) -> Option<usize> {
        let from = self.searched.max(self.at);
        let found = bytes[from..].iter().position(|&byte| byte == wanted).map(|offset| from + offset);
        self.searched = found.unwrap_or(bytes.len());
        found
    }

    fn advance(&mut self, to: usize) {
        self.at = to;
        self.searched = to;
    }

    /// Where the bulk string that is arriving will end.
    fn bulk_end(&self) -> Option<usize> {
        match self.stage {
            Stage::Bulk { length, .. } => Some(self.at + length + 2),
            _ => None,
        }
    }

    /// Makes requests of what was found in `block()`, the bytes up to `complete`, and counts from there.
    fn collect(&mut self, block: impl FnOnce() -> Bytes, requests: &mut Vec<Vec<Bytes>>) {
        if !self.found.is_empty() {
            let block = block();
            let mut ranges_start = 0;
            requests.reserve(self.found.len());
            for found in self.found.drain(..) {
                requests.push(match found {
                    Found::Inline(words) => words,
                    Found::Array { ranges_end } => {
                        let ranges = &self.ranges[ranges_start..ranges_end];
                        ranges_start = ranges_end;
                        ranges.iter().map(|range| argument(&block, range.clone())).collect()
                    }
                });
            }
            self.ranges.drain(..ranges_start);
            self.ranges.shrink_to(IDLE_RANGES_MAX);
            self.found.shrink_to(IDLE_RANGES_MAX);
        }
        for range in &mut self.ranges {
            range.start -= self.complete;
            range.end -= self.complete;
        }
        self.at -= self.complete;
        self.searched = self.searched.saturating_sub(self.complete);
        self.complete = 0;
    }
}

/// Slices an argument out of its block, or copies it where it would pin much more than itself.
fn argument(block: &Bytes, range: Range<usize>) -> Bytes {
    if range.len() >= OWN_BUFFER_BYTES_MIN && range.len() < block.len() / 2 {
        Bytes::copy_from_slice(&block[range])
    } else {
        block.slice(range)
    }
}

/// Reads a line of one to nine digits without a leading zero: nearly every length there is.
fn short_number(bytes: &[u8], from: usize) -> Option<(i64, usize)> {
    let mut number = 0;
    for (index, &byte) in bytes.get(from..)?.iter().take(10).enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + i64::from(byte - b'0'),
            b'\r' if index > 0 && (bytes[from] != b'0' || index == 1) && index < 10 => {
                let next = from + index + 2;
                return (next <= bytes.len()).then_some((number, next));
            }
            _ => return None,
        }
    }
    None
}

/// Reads a number as strictly as Redis does: no plus, no leading zero, no minus zero.
fn parse_number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        b"0" if text.len() == 1 => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(text).expect("digits are ASCII").parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: DecodeLimits = DecodeLimits { bulk_bytes_max: 512 * 1024 * 1024, authenticated: true };
    const READ_BYTES: usize = 16 * 1024;

    type Decoded = (Vec<Vec<Bytes>>, Option<String>);

    /// Decodes the pieces one after another, and tells the error that ended it.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &DecodeLimits) -> Decoded {
        let mut decoder = Decoder::default();
        let mut requests = Vec::new();
        for piece in pieces {
            if let Err(error) = decoder.feed(piece, limits, &mut requests) {
                return (requests, Some(error.line().to_owned()));
            }
        }
        (requests, None)
    }

    fn check(input: &[u8], requests: &[&[&[u8]]], error: Option<&str>) {
        for (how, decoded) in
            [("at once", decode([input], &LIMITS)), ("byte by byte", decode(input.chunks(1), &LIMITS))]
        {
            let found: Vec<Vec<&[u8]>> =
                decoded.0.iter().map(|request| request.iter().map(|word| &word[..]).collect()).collect();
            let shown = String::from_utf8_lossy(&input[..input.len().min(60)]);
            assert_eq!(found, requests, "{how}: {shown:?}");
            assert_eq!(decoded.1.as_deref(), error, "{how}: {shown:?}");
        }
    }

    fn check_error(input: &[u8], error: &str) {
        check(input, &[], Some(&format!("ERR Protocol error: {error}")));
    }

    fn written(request: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        for word in request {
            bytes.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
            bytes.extend_from_slice(word.as_ref());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    #[test]
    fn arrays_and_inline_commands_may_follow_each_other() {
        check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]], None);
        check(
            b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\nPING  'a b'\r\n\r\n*0\r\n*-1\r\n\nGET k\n*1\r\n$4\r\nQUIT\r\n",
            &[&[b"ECHO", b""], &[b"PING", b"a b"], &[b"GET", b"k"], &[b"QUIT"]],
            None,
        );
    }

    #[test]
    fn an_incomplete_request_is_waited_for() {
        check(b"*2\r\n$4\r\nECHO\r\n$3\r\nab", &[], None);
        check(b"*1\r\n$4\r\nPING\r\n*1\r", &[&[b"PING"]], None);
        check(b"PING", &[], None);
    }

    #[test]
    fn faults_end_with_the_texts_of_redis() {
        check_error(b"*a\r\n", "invalid multibulk length");
        check_error(b"*\r\n", "invalid multibulk length");
        check_error(b"*01\r\n", "invalid multibulk length");
        check_error(b"*1048577\r\n", "invalid multibulk length");
        check_error(b"*99999999999999999999\r\n", "invalid multibulk length");
        check_error(b"*1\r\nx4\r\n", "expected '$', got 'x'");
        check_error(b"*1\r\n\r\n", "expected '$', got ' '");
        check_error(b"*1\r\n$-1\r\n", "invalid bulk length");
        check_error(b"*1\r\n$536870913\r\n", "invalid bulk length");
        check_error(b"*1\r\n$4x\r\n", "invalid bulk length");
        check_error(b"SET \"a\r\n", "unbalanced quotes in request");
        let line = vec![b'1'; LINE_BYTES_MAX + 1];
        check_error(&line, "too big inline request");
        check_error(&[b"*", &line[..]].concat(), "too big mbulk count string");
        check_error(&[b"*1\r\n$", &line[..]].concat(), "too big bulk count string");
    }

    #[test]
    fn requests_before_a_fault_still_run() {
        check(
            b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\n",
            &[&[b"PING"], &[b"PING"]],
            Some("ERR Protocol error: invalid multibulk length"),
        );
    }

    #[test]
    fn a_stranger_may_only_send_small_requests() {
        let limits = DecodeLimits { authenticated: false, ..LIMITS };
        let error = |input: &[u8]| decode([input], &limits).1;
        assert_eq!(error(b"*10\r\n$16384\r\n"), None);
        assert_eq!(error(b"*11\r\n").unwrap(), "ERR Protocol error: unauthenticated multibulk length");
        assert_eq!(error(b"*1\r\n$16385\r\n").unwrap(), "ERR Protocol error: unauthenticated bulk length");
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut decoder = Decoder::default();
        let mut requests = Vec::new();
        decoder.feed(b"*1048576\r\n$536870912\r\nabc", &LIMITS, &mut requests).unwrap();
        assert!(decoder.held_bytes() < 1000, "holds {} bytes", decoder.held_bytes());
    }

    #[test]
    fn memory_follows_the_bytes_of_a_long_value_as_they_arrive() {
        let value = vec![b'v'; 10 << 20];
        let request = written(&[&b"SET"[..], b"key", &value]);
        let mut decoder = Decoder::default();
        let mut requests = Vec::new();
        let mut arrived = 0;
        for piece in request.chunks(READ_BYTES) {
            decoder.feed(piece, &LIMITS, &mut requests).unwrap();
            arrived += piece.len();
            assert!(decoder.held_bytes() <= 2 * arrived + 1000, "{} of {arrived}", decoder.held_bytes());
        }
        assert_eq!(requests, [[Bytes::from_static(b"SET"), Bytes::from_static(b"key"), Bytes::from(value)]]);
        assert_eq!(decoder.held_bytes(), 0, "an idle connection holds no buffer");
    }

    #[test]
    fn no_byte_is_looked_at_twice_however_slowly_a_request_arrives() {
        // A hundred thousand arguments byte by byte: minutes if every byte began from the start.
        let request = written(&vec!["word"; 100_000]);
        let (requests, error) = decode(request.chunks(1), &LIMITS);
        assert_eq!((requests.len(), requests[0].len(), error), (1, 100_000, None));
        let (requests, error) = decode([&vec![b' '; LINE_BYTES_MAX - 10][..], b"PING\n"], &LIMITS);
        assert_eq!((requests.len(), error), (1, None));
    }

    #[test]
    fn a_long_argument_pins_at_most_twice_its_size() {
        let long = vec![b'v'; OWN_BUFFER_BYTES_MIN];
        let request = written(&[&long; 10]);
        let (requests, _) = decode(request.chunks(READ_BYTES), &LIMITS);
        let place = |index: usize| requests[0][index].as_ptr() as usize;
        let distance_in_one_block = long.len() + b"\r\n$32768\r\n".len();
        assert_ne!(place(1).abs_diff(place(0)), distance_in_one_block, "they lie in one block");
        assert!(requests[0].iter().all(|argument| argument == &long));
    }

    fn any_request() -> impl Strategy<Value = Vec<u8>> {
        let word = proptest::collection::vec(any::<u8>(), 0..40);
        let array = proptest::collection::vec(word, 1..6).prop_map(|request| written(&request));
        let inline = "[a-c \"'\\\\x0-9]{0,12}".prop_map(|line| format!("{line}\r\n").into_bytes());
        let noise = proptest::collection::vec(
            prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), b'0'..=b'9', any::<u8>()],
            0..20,
        );
        prop_oneof![8 => array, 2 => inline, 1 => noise]
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_decodes_alike(
            requests in proptest::collection::vec(any_request(), 0..8),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let input = requests.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]);
            prop_assert_eq!(decode(pieces, &LIMITS), decode([&input[..]], &LIMITS));
        }

        #[test]
        fn what_was_written_is_read(requests in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..5), 0..20)
        ) {
            let input: Vec<u8> = requests.iter().flat_map(|request| written(request)).collect();
            let (decoded, error) = decode(input.chunks(64), &LIMITS);
            let decoded: Vec<Vec<Vec<u8>>> =
                decoded.iter().map(|request| request.iter().map(|word| word.to_vec()).collect()).collect();
            prop_assert_eq!((decoded, error), (requests, None));
        }
    }
}
