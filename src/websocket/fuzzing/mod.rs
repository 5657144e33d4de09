//! The bodies of the fuzz targets for what a peer sends: heads, frames, messages.
//!
//! Each compares the module with a reading of the RFC that is simple, slow and not used elsewhere.

pub(crate) mod deflate;
mod frame;
mod head;
mod message;

pub use frame::frame_decoder;
pub use head::request_head;
pub use message::messages;
