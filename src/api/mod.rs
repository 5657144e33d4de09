//! The JSON of the wire contract as typed values, and back.
//!
//! Everything here is text in, value out (or the reverse). It knows nothing of connections, tokens' contents or who
//! may see what.

mod answer;
mod event;
mod event_type;
mod id;
mod line;
mod question;
mod reply;
mod request;
mod subject;

pub use answer::{encode_refused, encode_taken};
pub use event::{Audience, Event};
pub use event_type::EventType;
pub use id::{ObjectId, ObjectIdError, Subject, UserId};
pub use line::{Line, LineError};
pub use question::{Answer, Question};
pub use reply::{Code, encode_loss};
pub use request::{Action, Request};
