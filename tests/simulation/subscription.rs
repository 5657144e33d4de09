//! One subscription of a connection, as the oracle knows it: which events are due, and what has ended it.

use crate::faults::Fault;
use crate::ledger::{Ledger, Right, Stamp};

/// A subscription as of the last thing heard.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) right: Right,
    /// The next event heard has a place in its topic from `least` to `most`.
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// When its request was given, and when it was certainly done.
    pub(crate) since: Stamp,
    pub(crate) settled: Stamp,
    /// How far epochs and revocations have been looked through for its end, and the first that ends it.
    pub(crate) epochs_seen: usize,
    pub(crate) revocations_seen: usize,
    pub(crate) ended: Option<Stamp>,
}

impl Subscription {
    /// Notes the first thing that ends it.
    pub(crate) fn look_for_end(&mut self, ledger: &Ledger) {
        if self.ended.is_some() {
            return;
        }
        let epochs = &ledger.epochs[self.epochs_seen..];
        let by_itself = epochs.iter().find(|epoch| ledger.has_ended_in(epoch, &self.right));
        let revocations = &ledger.revocations[self.revocations_seen..];
        let by_revocation = revocations.iter().find(|revocation| revocation.ends(&self.right).is_some());
        let stamps = [by_itself.map(|epoch| epoch.stamp), by_revocation.map(|revocation| revocation.stamp)];
        self.ended = stamps.into_iter().flatten().min();
        (self.epochs_seen, self.revocations_seen) = (ledger.epochs.len(), ledger.revocations.len());
    }

    /// Whether it can be lost with this code, having had these events; and what is the cause.
    pub(crate) fn judge_loss(&mut self, code: u8, ledger: &Ledger) -> Result<Fault, String> {
        self.look_for_end(ledger);
        // What came while its request was under way may have been before it or after it.
        let last = self.ended.unwrap_or(self.settled);
        let first = ledger.epochs.partition_point(|epoch| epoch.stamp < self.since).saturating_sub(1);
        let by_itself = ledger.epochs[first..]
            .iter()
            .filter_map(|epoch| Some((epoch.stamp, ledger.end_in(epoch, &self.right, code)?)));
        let by_revocation = ledger.revocations.iter().filter_map(|revocation| {
            let ends = revocation.stamp > self.since && revocation.ends(&self.right) == Some(code);
            let fault = if revocation.subject.is_none() { Fault::RevokedUser } else { Fault::RevokedEvent };
            ends.then_some((revocation.stamp, fault))
        });
        // The first cause ends it, whichever the client is told of.
        let at_end = self.ended.map(|end| ledger.count_before(self.right.topic, end));
        let is_complete = |count| (self.least..=self.most).contains(&count);
        let mut found = false;
        for (stamp, fault) in by_itself.chain(by_revocation) {
            found = true;
            let count = ledger.count_before(self.right.topic, stamp.min(last).max(self.since));
            if is_complete(count) || at_end.is_some_and(is_complete) {
                return Ok(fault);
            }
        }
        let what = if found { "events are missing before it" } else { "there is no reason for it" };
        Err(format!("{what}: {self:?}"))
    }
}
