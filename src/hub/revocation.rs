//! Ends subscriptions whose authorization has lapsed: revocation, expiry, changed keys, changed access.
//!
//! The client receives one message for each lost subscription.

use super::{Hub, HubCounters};
use crate::access::{Access, Decision};
use crate::api::{Code, Subject, UserId, encode_loss};
use crate::peers::{Peers, Prepared};
use crate::server::Service as _;
use crate::subscriptions::{Subscription, Topic};
use crate::time::{Monotonic, Now};
use crate::token::KeySet;

impl Hub {
    /// Ends every subscription of `user` with code 3, or those to `subject` with code 4. Returns how many ended.
    pub(super) fn revoke(
        &mut self,
        peers: &mut Peers,
        user: UserId,
        subject: Option<Subject>,
        now: Now,
    ) -> usize {
        self.flush_batch(peers, now);
        self.access_epoch += 1;
        self.access.revoke(user, subject, now.monotonic);
        let mut count = 0;
        let counters = &mut self.counters;
        let mut told = |subscription, code| {
            tell(peers, counters, subscription, code, now.monotonic);
            count += 1;
        };
        match subject {
            None => self.subscriptions.end_user(user, |subscription| told(subscription, Code::UserNotExists)),
            Some(subject) => {
                if let Some(topic) = Topic::new(user, subject) {
                    let told = |subscription| told(subscription, Code::NoAccess);
                    self.subscriptions.end_topic_of_user(user, &topic, told);
                }
            }
        }
        count
    }

    /// Ends the subscriptions whose token has expired. Called before each event too, so that an event read in the same
    /// turn is not delivered to them.
    pub(super) fn expire(&mut self, peers: &mut Peers, now: Now) {
        if self.subscriptions.next_end().is_none_or(|end| end > now.wall) {
            return;
        }
        self.flush_batch(peers, now);
        let Self { subscriptions, counters, .. } = self;
        subscriptions.expire(now.wall, |subscription| {
            tell(peers, counters, subscription, Code::InvalidToken, now.monotonic);
        });
    }

    /// Replaces the keys. Subscriptions whose token was verified with a removed key end with code 2. Call this through
    /// [`Server::act`](crate::server::Server::act).
    pub fn replace_keys(&mut self, peers: &mut Peers, keys: KeySet, now: Now) {
        if self.tokens.replace_keys(keys) {
            let Self { tokens, counters, subscriptions, .. } = self;
            subscriptions.end_where(
                |subscription| (!tokens.knows_key(subscription.lease.key)).then_some(Code::InvalidToken),
                |subscription, code| tell(peers, counters, subscription, code, now.monotonic),
            );
        }
    }

    /// Replaces the access policy after a reload. Subscriptions that it no longer allows end with code 3 or 4. Call this
    /// through [`Server::act`](crate::server::Server::act).
    pub fn replace_access(&mut self, peers: &mut Peers, access: Access, now: Now) {
        self.access_epoch += 1;
        self.access = access;
        let Self { access, counters, subscriptions, .. } = self;
        subscriptions.end_where(
            |&Subscription { user, topic, .. }| match access.decide(
                user,
                Some(topic.subject()),
                now.monotonic,
            ) {
                Decision::Now(Code::Ok) | Decision::Later(_) => None,
                Decision::Now(code) => Some(code),
            },
            |subscription, code| tell(peers, counters, subscription, code, now.monotonic),
        );
    }
}

/// Tells the client that a subscription is lost.
fn tell(
    peers: &mut Peers,
    counters: &mut HubCounters,
    Subscription { peer, topic, .. }: Subscription,
    code: Code,
    now: Monotonic,
) {
    counters.lost_subscriptions[usize::from(code.number())] += 1;
    let message = Prepared::written(|out| encode_loss(code, topic.subject(), out));
    peers.send(peer, &message, now);
}
