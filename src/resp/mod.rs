//! The wire: RESP2 and RESP3 in and out, and Redis' error texts. A leaf: it knows no commands and no sockets.

mod error;
mod reply;

pub use error::Error;
pub use reply::{Protocol, Reply};
