//! What the service writes about itself.

/// How a log line is written: `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `ts=… level=info msg="…" key=value …`
    #[default]
    Logfmt,
    /// One JSON object a line, the same members.
    Json,
}
