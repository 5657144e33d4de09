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

#[cfg(test)]
mod tests {
    use super::super::rate::RateLimit;
    use super::super::{Admission, HubLimits};
    use super::*;
    use crate::api::EventType;
    use crate::cost::Budget;
    use crate::peers::{PeerId, PeerLimits, Sockets};
    use crate::producers::{ProducerLimits, Producers};
    use crate::server::Server;
    use crate::subscriptions::Lease;
    use crate::time::Wall;
    use crate::token::{KeyId, Rules, SigningKey, Tokens};
    use crate::websocket::frame::{OpCode, encode};
    use crate::websocket::message::Limits;
    use std::io;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const ID: &str = "610217e481f6fc54736209e0";

    /// The socket of the only peer; it accepts every byte.
    struct Socket(Vec<u8>);

    impl Sockets for Socket {
        type Socket = Vec<u8>;

        fn socket(&mut self, _: PeerId) -> &mut Vec<u8> {
            &mut self.0
        }

        fn await_writable(&mut self, _: PeerId) -> io::Result<()> {
            Ok(())
        }

        fn shut(&mut self, _: PeerId) {}
    }

    fn server(keys: KeySet) -> Server<Hub> {
        let (limits, size) = (PeerLimits::default(), 1 << 20);
        let admission = Admission {
            path: "/".into(),
            origins: crate::origins::Origins::any(),
            trusted_proxies: crate::forwarded::TrustedProxies::default(),
            connections: 1,
            connections_per_address: 0,
            page: None,
        };
        let rules = Rules { issuers: Vec::new(), audience: None, leeway: Duration::ZERO, token_bytes: 8192 };
        let hub_limits = HubLimits {
            subscriptions: 1,
            connections_per_user: 0,
            requests_per_second: 0,
            request_burst: 1,
            line: size,
            producers_total: size,
        };
        let hub = Hub::new(admission, Tokens::new(keys, rules, 1), Access::Token, hub_limits, true);
        let producers =
            Producers::new(ProducerLimits { producers: 1, line: size, answers: size, total: 4 * size });
        Server::new(Peers::new(limits, Limits::default()), producers, hub, Duration::from_secs(1), size, size)
    }

    /// A peer whose connection is open.
    fn open(server: &mut Server<Hub>, now: Now) -> PeerId {
        let peer = server.connect(Ipv4Addr::LOCALHOST.into(), now).unwrap();
        let mut head = *b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        server.receive(peer, &mut head, now, &mut Budget::unlimited());
        peer
    }

    /// Subscribes a peer, whatever its rights.
    fn attach(server: &mut Server<Hub>, peer: PeerId, user: UserId, topic: Topic, now: Now) {
        let lease = Lease { ends: Wall::NEVER, key: KeyId::of_no_key(0) };
        server.act(now, |hub, _| hub.subscriptions.attach(peer, user, topic, lease));
    }

    #[test]
    fn s55_topics_that_a_line_is_compared_with_are_charged() {
        let mut server = server(KeySet::new());
        let now = Now::default();
        let peer = open(&mut server, now);
        for user in 0..1000 {
            let user: UserId = format!("{user:024x}").parse().unwrap();
            let id = Some(ID.parse().unwrap());
            attach(&mut server, peer, user, Topic::Personal(EventType::Notification, user, id), now);
        }
        let producer = server.connect_producer().unwrap();
        // For everyone who wants an id that no subscription is about.
        let line = r#"{"type":"notification","users":"*","id":"000000000000000000000000","data":1}"#;
        let lines = [line, "\n"].concat().repeat(100);
        server.receive_lines(producer, lines.as_bytes(), now, &mut Budget::new(200_000));
        assert!(server.has_leftover_lines(producer), "two milliseconds of comparing");
    }

    #[test]
    fn s57_requests_that_came_during_a_stop_are_within_the_rate() {
        let mut server = server(KeySet::new());
        server.act(Now::default(), |hub, _| hub.rate = RateLimit::new(20, 256));
        let peer = open(&mut server, Now::default());
        let mut frame = Vec::new();
        encode(OpCode::Text, b"{}", Some([1, 2, 3, 4]), &mut frame);
        let send = |server: &mut Server<Hub>, count| {
            server.receive(peer, &mut frame.repeat(count), Now::default(), &mut Budget::unlimited());
            server.flush(&mut Socket(Vec::new()), Now::default());
            while server.has_leftover(peer) {
                server.receive_leftover(peer, Now::default(), &mut Budget::unlimited());
                server.flush(&mut Socket(Vec::new()), Now::default());
            }
        };
        server.set_catching_up(true);
        send(&mut server, 1200);
        server.set_catching_up(false);
        let refused = |server: &Server<Hub>| server.service().counters().replies[7];
        assert_eq!((refused(&server), server.peers().open()), (0, 1));
        send(&mut server, 300);
        assert_eq!(refused(&server), 44);
    }

    #[test]
    fn events_of_kept_lines_are_backlog_until_they_are_offered() {
        let mut server = server(KeySet::new());
        let now = Now::default();
        let peer = open(&mut server, now);
        let topic = Topic::Object(EventType::IssueUpdate, ID.parse().unwrap());
        attach(&mut server, peer, ID.parse().unwrap(), topic, now);
        let producer = server.connect_producer().unwrap();
        let lines = format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\",\"data\":1}}\n").repeat(2);
        server.receive_lines(producer, lines.as_bytes(), now, &mut Budget::new(1));
        let mut socket = Socket(Vec::new());
        server.flush(&mut socket, now);
        server.receive_leftover_lines(producer, now, &mut Budget::unlimited());
        server.advance(now);
        assert!(!server.has_leftover_lines(producer) && server.has_backlog());
        server.flush(&mut socket, now);
        assert!(!server.has_backlog());
    }

    #[test]
    fn an_event_read_in_the_turn_in_which_a_token_ends_is_not_delivered() {
        let (key, public) = SigningKey::generate().unwrap();
        let mut keys = KeySet::new();
        keys.add_pem(public.as_bytes()).unwrap();
        let mut server = server(keys);
        let at = |second: u64| Now { monotonic: Monotonic(1), wall: Wall(second * 1000) };
        let peer = open(&mut server, at(0));
        let token = key.sign(r#"{"exp":10,"data":{"id":"5dad615eae019570fb4647ed"}}"#);
        let request =
            format!(r#"{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":"{ID}"}}}}"#);
        let mut frame = Vec::new();
        encode(OpCode::Text, request.as_bytes(), Some([1, 2, 3, 4]), &mut frame);
        server.receive(peer, &mut frame, at(0), &mut Budget::unlimited());
        server.advance(at(0));

        let producer = server.connect_producer().unwrap();
        let mut socket = Socket(Vec::new());
        for (second, data) in [(9, "\"before\""), (10, "\"at the end\"")] {
            let line = format!("{{\"type\":\"issueUpdate\",\"id\":\"{ID}\",\"data\":{data}}}\n");
            server.receive_lines(producer, line.as_bytes(), at(second), &mut Budget::unlimited());
            server.advance(at(second));
            server.flush(&mut socket, at(second));
        }
        let said = String::from_utf8_lossy(&socket.0);
        let ok = said.find(r#""code":0"#).expect("the request is answered");
        let before = said.find("before").expect("the event is delivered");
        let lost = said.find(r#""code":2"#).expect("the client is told of the lost subscription");
        assert!(ok < before && before < lost && !said.contains("at the end"), "{said}");
    }
}
