//! The event types of the wire contract: the tests' own list, which takes nothing from the server's.

/// The names, in the contract's order.
pub(crate) const EVENT_TYPES: [&str; 5] =
    ["issueUpdate", "notification", "datasetUpdate", "uploadFile", "downloadFile"];
/// The place of the personal one.
pub(crate) const PERSONAL: usize = 1;
/// The places of those whose id is a dataset's.
pub(crate) const OF_DATASETS: [usize; 3] = [2, 3, 4];
