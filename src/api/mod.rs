//! The JSON of the wire contract as typed values, read and written.
//!
//! Owns every name, code and text on the wire. Does not know connections, the contents of tokens, or the access policy.

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
pub use question::{AccessAnswer, Question};
pub use reply::{Code, encode_loss};
pub use request::{Action, Request};
