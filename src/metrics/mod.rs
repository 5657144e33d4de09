//! What operators see: every metric in one table, and the answers of the HTTP endpoint that serves them.
//!
//! The numbers are counted where they arise, as plain fields; here they get names and are written in the text format of
//! Prometheus, when somebody asks. No socket and no clock: [`LoopFigures`] come from whoever has them.

mod endpoint;
mod figures;
mod table;
mod text;

pub use endpoint::{Answer, Page, Request, RequestReader};
pub use figures::{Histogram, LoopFigures, Reloads};
pub use table::{Kind, Metric, table};
pub use text::render;

use crate::hub::Hub;
use crate::server::Server;

/// What the metrics are read from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The server.
    pub server: &'a Server<Hub>,
    /// What the event loop has measured.
    pub figures: &'a LoopFigures,
}
