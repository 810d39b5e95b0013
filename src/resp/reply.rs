//! What a command answers, before it is known in which protocol the client wants to hear it.

use bytes::Bytes;

use super::Error;

/// The protocol version that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// One reply; `encode` writes it in the client's protocol.
///
/// The shapes that differ between RESP2 and RESP3 have a variant of their own, so that a command says what it means
/// once and never asks for the protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// A status line other than OK, such as `+PONG` or `+QUEUED`.
    Status(Bytes),
    Error(Error),
    Integer(i64),
    /// RESP2: a bulk string; RESP3: `,`.
    Double(f64),
    Bulk(Bytes),
    /// RESP2: a bulk string; RESP3: a verbatim `txt`.
    Verbatim(Bytes),
    /// RESP2: `$-1`; RESP3: `_`.
    Null,
    /// RESP2: `*-1`; RESP3: `_`.
    NullArray,
    Array(Vec<Reply>),
    /// RESP2: a flat array of keys and values; RESP3: `%`.
    Map(Vec<(Reply, Reply)>),
    /// Pairs that are no map, as their keys may come twice. RESP2: a flat array; RESP3: an array of arrays of two.
    Pairs(Vec<(Reply, Reply)>),
    /// RESP2: an array; RESP3: `~`.
    Set(Vec<Reply>),
    /// Members with scores. RESP2: one flat array of bulk strings; RESP3: an array of `[member, double]`.
    Scored(Vec<(Bytes, f64)>),
    /// An out-of-band message. RESP2: an array; RESP3: `>`.
    Push(Vec<Reply>),
    /// Several replies in a row, as SUBSCRIBE to several channels has them.
    Many(Vec<Reply>),
    /// No reply at all, as CLIENT REPLY OFF asks for.
    Silent,
}

impl Reply {
    /// Makes a bulk string from borrowed bytes.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// Makes a status line from a constant.
    pub fn status(text: &'static str) -> Reply {
        Reply::Status(Bytes::from_static(text.as_bytes()))
    }

    /// Makes the integer 1 or 0.
    pub fn flag(yes: bool) -> Reply {
        Reply::Integer(i64::from(yes))
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        Reply::Error(error)
    }
}
