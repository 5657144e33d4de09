//! Attaching, detaching and disconnecting, beside few and many other subscriptions.

use airlay::api::{EventType, ObjectId, UserId};
use airlay::peers::PeerId;
use airlay::subscriptions::{Lease, Subscriptions, Topic};
use airlay::time::Wall;
use criterion::{BenchmarkId, Criterion};

use crate::requests::key_id;

/// Each change beside `others` other peers, each of a user of its own, attached to a shared topic and to one of its own.
pub(crate) fn changes(criterion: &mut Criterion) {
    let lease = Lease { ends: Wall(4_000_000_000_000), key: key_id() };
    let mut group = criterion.benchmark_group("subscriptions");
    for &others in crate::delivery::sizes() {
        let mut subscriptions = Subscriptions::new();
        for number in 0..others {
            let (peer, user) = (PeerId::new(number, number), UserId(object(number)));
            subscriptions.attach(peer, user, topic(u32::MAX), lease);
            subscriptions.attach(peer, user, topic(number), lease);
        }
        let (peer, user) = (PeerId::new(others, others), UserId(object(others)));
        group.bench_function(BenchmarkId::new("attach and detach, a shared topic", others), |bencher| {
            bencher.iter(|| {
                assert!(subscriptions.attach(peer, user, topic(u32::MAX), lease));
                assert!(subscriptions.detach(peer, &topic(u32::MAX)));
            });
        });
        group.bench_function(BenchmarkId::new("attach and detach, a topic of its own", others), |bencher| {
            bencher.iter(|| {
                assert!(subscriptions.attach(peer, user, topic(others), lease));
                assert!(subscriptions.detach(peer, &topic(others)));
            });
        });
        group.bench_function(BenchmarkId::new("attach to both and disconnect", others), |bencher| {
            bencher.iter(|| {
                subscriptions.attach(peer, user, topic(u32::MAX), lease);
                subscriptions.attach(peer, user, topic(others), lease);
                subscriptions.disconnect(peer);
            });
        });
        assert_eq!(subscriptions.count_of_peer(peer), 0);
    }
}

fn topic(number: u32) -> Topic {
    Topic::Object(EventType::IssueUpdate, object(number))
}

fn object(number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}
