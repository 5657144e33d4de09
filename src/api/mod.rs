//! The JSON of the wire contract as typed values, and back.
//!
//! Everything here is text in, value out (or the reverse). It knows nothing of connections, tokens' contents or who
//! may see what.

mod id;

pub use id::{EventType, ObjectId, ObjectIdError, Subject, UserId};
