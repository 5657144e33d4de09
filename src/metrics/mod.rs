//! Monitoring: one table of all metrics, their text format, and the HTTP of the endpoint that serves them.
//!
//! Values are counted as plain fields where they arise; this module names and renders them when they are scraped. It must
//! not know sockets or clocks: the event loop supplies [`LoopFigures`].

mod endpoint;
mod figures;
mod table;
mod text;

use crate::hub::Hub;
use crate::server::Server;

pub use endpoint::{Answer, Page, Request, RequestReader};
pub use figures::{Histogram, LoopFigures, Reloads};
pub use table::{Kind, Metric, table};
pub use text::render;

/// The sources of all metrics.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The server.
    pub server: &'a Server<Hub>,
    /// The measurements of the event loop.
    pub figures: &'a LoopFigures,
}
