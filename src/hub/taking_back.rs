//! The end of a right is the end of the subscription that rests on it: revocation, expiry, changed keys, changed access.
//!
//! The client is told once for each subscription lost.

use super::{Hub, OpCode, encode};
use crate::access::{Access, Decision};
use crate::api::{Code, Subject, UserId, encode_loss};
use crate::peers::Peers;
use crate::server::Service as _;
use crate::subscriptions::{Subscription, Topic};
use crate::time::{Monotonic, Now};
use crate::token::KeySet;

impl Hub {
    /// Ends every subscription of `user`, with code 3, or the one to `subject`, with code 4. Returns how many.
    pub(super) fn revoke(
        &mut self,
        peers: &mut Peers,
        user: UserId,
        subject: Option<Subject>,
        now: Now,
    ) -> usize {
        self.queue_held_back(peers, now);
        self.rights += 1;
        self.access.revoke(user, subject, now.monotonic);
        let mut count = 0;
        let mut told = |subscription, code| {
            tell(peers, subscription, code, now.monotonic);
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

    /// Ends the subscriptions whose token is over: before each event, since it may be what has woken the server.
    pub(super) fn expire(&mut self, peers: &mut Peers, now: Now) {
        if self.subscriptions.next_end().is_none_or(|end| end > now.wall) {
            return;
        }
        self.queue_held_back(peers, now);
        self.subscriptions
            .expire(now.wall, |subscription| tell(peers, subscription, Code::InvalidToken, now.monotonic));
    }

    /// Takes other keys into use. A subscription whose token was verified with a key that is gone ends, with code 2.
    pub fn replace_keys(&mut self, peers: &mut Peers, keys: KeySet, now: Now) {
        self.queue_held_back(peers, now);
        if self.tokens.replace_keys(keys) {
            let tokens = &self.tokens;
            self.subscriptions.end_where(
                |subscription| (!tokens.knows_key(subscription.lease.key)).then_some(Code::InvalidToken),
                |subscription, code| tell(peers, subscription, code, now.monotonic),
            );
        }
    }

    /// Takes another access file into force. A subscription that it does not allow ends, with code 3 or 4.
    pub fn replace_access(&mut self, peers: &mut Peers, access: Access, now: Now) {
        self.queue_held_back(peers, now);
        self.rights += 1;
        self.access = access;
        let access = &mut self.access;
        self.subscriptions.end_where(
            |&Subscription { user, topic, .. }| match access.decide(
                user,
                Some(topic.subject()),
                now.monotonic,
            ) {
                Decision::Now(Code::Ok) | Decision::Later(_) => None,
                Decision::Now(code) => Some(code),
            },
            |subscription, code| tell(peers, subscription, code, now.monotonic),
        );
    }
}

/// Tells the client that a subscription is lost.
fn tell(peers: &mut Peers, Subscription { peer, topic, .. }: Subscription, code: Code, now: Monotonic) {
    let (mut message, mut frame) = (Vec::new(), Vec::new());
    encode_loss(code, topic.subject(), &mut message);
    encode(OpCode::Text, &message, None, &mut frame);
    peers.send(peer, &frame, now);
}
