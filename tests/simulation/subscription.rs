//! A subscription of a connection in the oracle's view: which events are due, and what has ended it.

use crate::faults::Fault;
use crate::ledger::{Ledger, Right, Stamp};

/// A subscription as of the last message.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) right: Right,
    /// The next event has a place in its topic from `least` to `most`.
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// When the server received its request, and when it had certainly carried it out.
    pub(crate) since: Stamp,
    pub(crate) settled: Stamp,
    /// How many epochs and revocations have been searched for its end, and the first that ends it.
    pub(crate) epochs_seen: usize,
    pub(crate) revocations_seen: usize,
    pub(crate) ended: Option<Stamp>,
}

impl Subscription {
    /// Finds the first cause that ends it.
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

    /// Whether a cause after its request was received, even before its reply, may have ended it.
    pub(crate) fn may_have_ended(&self, ledger: &Ledger) -> bool {
        let first = ledger.epochs.partition_point(|epoch| epoch.stamp < self.since);
        self.ended.is_some()
            || ledger.epochs[first..].iter().any(|epoch| ledger.has_ended_in(epoch, &self.right))
            || ledger.revocations.iter().any(|it| it.stamp > self.since && it.ends(&self.right).is_some())
    }

    /// The cause that ends it with this code after these events.
    ///
    /// # Errors
    ///
    /// There is no such cause, or events are missing.
    pub(crate) fn judge_loss(&mut self, code: u8, ledger: &Ledger) -> Result<Fault, String> {
        self.look_for_end(ledger);
        // Inputs while its request was pending may have been before or after it.
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
        // The first cause ends it, whichever the message names.
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
