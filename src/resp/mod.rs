//! The wire: RESP2 and RESP3 in and out, and Redis' error texts. A leaf: it knows no commands and no sockets.

mod decoder;
mod double;
mod encoder;
mod error;
mod inline;
mod reply;

pub use decoder::{DecodeLimits, Decoder, OWN_BUFFER_BYTES_MIN};
pub use double::{DOUBLE_BYTES_MAX, format_double, parse_double, write_double};
pub use encoder::encode;
pub use error::Error;
pub use inline::split_words;
pub use reply::{Protocol, Reply};
