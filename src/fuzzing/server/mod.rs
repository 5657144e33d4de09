//! The body of the fuzz target for the whole server without its sockets: clients, producers, the access service and both
//! clocks, driven by a script.

mod cast;
mod client;
mod script;
mod world;

pub use script::server;
