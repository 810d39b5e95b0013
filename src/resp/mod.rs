//! The wire: RESP2 and RESP3 in and out, and Redis' error texts. A leaf: it knows no commands and no sockets.

mod double;
mod error;
mod reply;

pub use double::{DOUBLE_BYTES_MAX, format_double, parse_double, write_double};
pub use error::Error;
pub use reply::{Protocol, Reply};
