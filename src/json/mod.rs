//! Reads JSON text into members and values, and describes its mistakes in words its writer can act on.
//!
//! Knows the syntax of JSON and nothing of what a member means.

pub(crate) mod object;
pub(crate) mod problem;
pub(crate) mod value;
