//! The protocol on the wire: bytes to requests, replies to bytes.

mod check;
mod framer;
mod grammar;
mod number;
mod outbox;
mod request;
mod scan;
mod strings;

pub use check::to_line;
pub use framer::{Frame, Framer, MAX_ROOM, Message};
pub use outbox::{MAX_SLICES, Outbox};
pub use request::{Envelope, EnvelopeError};
