//! JSON text → members and values, and what is wrong with it in words its writer can act on.
//!
//! Knows nothing of what the members mean.

pub(crate) mod object;
pub(crate) mod problem;
