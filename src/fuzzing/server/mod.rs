//! Target `server`: the whole server without its sockets. A script drives clients, producers, the access service and
//! both clocks.

mod cast;
mod client;
mod script;
mod world;

pub use script::server;
