//! Replies as values: a strict decoder of RESP2 and RESP3, written for the tests so that the server is not judged by itself.
//!
//! Doubles keep their text and `$-1`, `*-1` and `_` stay three different things, because clients see the difference.

use std::fmt;

/// One reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `_`, RESP3's only nil
    Null,
    /// `$-1`, RESP2's nil
    NullBulk,
    /// `*-1`, RESP2's other nil
    NullArray,
    /// `*2`
    Array(Vec<Value>),
    /// `%2`
    Map(Vec<(Value, Value)>),
    /// `~2`
    Set(Vec<Value>),
    /// `,1.5`, as text
    Double(String),
    /// `#t`
    Boolean(bool),
    /// `=7`, its three-letter kind and its text
    Verbatim(String, Vec<u8>),
    /// `(123`
    BigNumber(String),
    /// `>2`
    Push(Vec<Value>),
}

/// Bytes that are no reply in either protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

/// Decodes the first reply in `bytes`: its value and its length, or None while it is incomplete.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value() {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(why)) => Err(Malformed(format!("{why} at byte {}", reader.at))),
    }
}

impl Value {
    /// Whether this is one of the three nils.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// The integer, or a panic that shows what came instead.
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The bytes of a string reply of any kind, or a panic that shows what came instead.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes,
            Value::Simple(text) | Value::Double(text) => text.as_bytes(),
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// The text of a string reply.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The elements of an array, set or push, or a panic that shows what came instead.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The same as [`Value::items`], by value.
    pub fn into_items(self) -> Vec<Value> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(out, "+{text}"),
            Value::Error(text) => write!(out, "-{text}"),
            Value::Integer(number) => write!(out, ":{number}"),
            Value::Bulk(bytes) if bytes.len() > 120 => {
                write!(out, "\"{}…\"({} bytes)", bytes[..100].escape_ascii(), bytes.len())
            }
            Value::Bulk(bytes) => write!(out, "\"{}\"", bytes.escape_ascii()),
            Value::Null => write!(out, "_"),
            Value::NullBulk => write!(out, "$-1"),
            Value::NullArray => write!(out, "*-1"),
            Value::Array(items) => out.debug_list().entries(items).finish(),
            Value::Map(pairs) => out.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish(),
            Value::Set(items) => write!(out, "~").and_then(|()| out.debug_list().entries(items).finish()),
            Value::Double(text) => write!(out, ",{text}"),
            Value::Boolean(truth) => write!(out, "#{truth}"),
            Value::Verbatim(kind, bytes) => write!(out, "={kind}:{}", bytes.escape_ascii()),
            Value::BigNumber(text) => write!(out, "({text}"),
            Value::Push(items) => write!(out, ">").and_then(|()| out.debug_list().entries(items).finish()),
        }
    }
}

enum Stop {
    Incomplete,
    Malformed(String),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, Stop> {
        let Some(&kind) = self.bytes.get(self.at) else { return Err(Stop::Incomplete) };
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Value::Simple(line)),
            b'-' => Ok(Value::Error(line)),
            b':' => Ok(Value::Integer(number(&line)?)),
            b',' if line.parse::<f64>().is_ok() => Ok(Value::Double(line)),
            b'(' if line.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Value::BigNumber(line))
            }
            b'#' if line == "t" || line == "f" => Ok(Value::Boolean(line == "t")),
            b'_' if line.is_empty() => Ok(Value::Null),
            b'$' if line == "-1" => Ok(Value::NullBulk),
            b'$' => Ok(Value::Bulk(self.blob(&line)?)),
            b'*' if line == "-1" => Ok(Value::NullArray),
            b'*' => Ok(Value::Array(self.values(length(&line)?)?)),
            b'~' => Ok(Value::Set(self.values(length(&line)?)?)),
            b'>' => Ok(Value::Push(self.values(length(&line)?)?)),
            b'%' => self.map(length(&line)?),
            b'=' => self.verbatim(&line),
            other => Err(Stop::Malformed(format!("{:?}{line:?} begins no reply", other as char))),
        }
    }

    fn line(&mut self) -> Result<String, Stop> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Err(Stop::Incomplete) };
        if end == 0 || rest[end - 1] != b'\r' {
            return Err(Stop::Malformed("a line feed without its carriage return".into()));
        }
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end - 1]).into_owned())
    }

    fn blob(&mut self, line: &str) -> Result<Vec<u8>, Stop> {
        let length = length(line)?;
        let rest = &self.bytes[self.at..];
        if rest.len() < length + 2 {
            return Err(Stop::Incomplete);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(Stop::Malformed("a string longer than it says".into()));
        }
        self.at += length + 2;
        Ok(rest[..length].to_vec())
    }

    fn values(&mut self, count: usize) -> Result<Vec<Value>, Stop> {
        (0..count).map(|_| self.value()).collect()
    }

    fn map(&mut self, count: usize) -> Result<Value, Stop> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.value()?, self.value()?));
        }
        Ok(Value::Map(pairs))
    }

    fn verbatim(&mut self, line: &str) -> Result<Value, Stop> {
        let blob = self.blob(line)?;
        if blob.get(3) != Some(&b':') {
            return Err(Stop::Malformed("a verbatim string without its kind".into()));
        }
        Ok(Value::Verbatim(String::from_utf8_lossy(&blob[..3]).into_owned(), blob[4..].to_vec()))
    }
}

fn number(line: &str) -> Result<i64, Stop> {
    line.parse().map_err(|_| Stop::Malformed(format!("{line:?} is not a number")))
}

fn length(line: &str) -> Result<usize, Stop> {
    line.parse().map_err(|_| Stop::Malformed(format!("{line:?} is not a length")))
}

#[test]
fn the_decoder_knows_every_kind_of_reply_and_waits_for_the_rest_of_one() {
    let wire: &[u8] =
        b"*9\r\n+OK\r\n-ERR no\r\n:-5\r\n$2\r\na\n\r\n$-1\r\n%1\r\n+k\r\n,1.5\r\n~1\r\n#t\r\n=5\r\ntxt:x\r\n_\r\n";
    let (value, length) = decode(wire).expect("well formed").expect("complete");
    assert_eq!(length, wire.len());
    assert_eq!(value.items()[3], Value::Bulk(b"a\n".to_vec()));
    for cut in 0..wire.len() {
        assert_eq!(decode(&wire[..cut]), Ok(None), "cut at {cut}");
    }
    assert!(decode(b"$1\r\nab\r\n").is_err());
    assert!(decode(b":x\r\n").is_err());
}
