//! Compares the subscriptions with a simple model: one map.

use super::*;
use crate::token::KeyId;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Attach { peer: u32, user: u8, topic: u8, ends: Option<u8>, key: u8 },
    Detach { peer: u32, user: u8, topic: u8 },
    Disconnect { peer: u32 },
    EndUser { user: u8 },
    EndTopic { user: u8, topic: u8 },
    Expire { now: u8 },
    EndKey { key: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, user, topic) = (0..6_u32, 0..4_u8, 0..10_u8);
    prop_oneof![
        8 => (peer.clone(), user.clone(), topic.clone(), any::<Option<u8>>(), 0..3_u8)
            .prop_map(|(peer, user, topic, ends, key)| Step::Attach { peer, user, topic, ends, key }),
        3 => (peer.clone(), user.clone(), topic.clone()).prop_map(|(peer, user, topic)| Step::Detach { peer, user, topic }),
        1 => peer.prop_map(|peer| Step::Disconnect { peer }),
        1 => user.clone().prop_map(|user| Step::EndUser { user }),
        2 => (user, topic).prop_map(|(user, topic)| Step::EndTopic { user, topic }),
        1 => any::<u8>().prop_map(|now| Step::Expire { now }),
        1 => (0..3_u8).prop_map(|key| Step::EndKey { key }),
    ]
}

fn user(number: u8) -> UserId {
    UserId(object(number))
}

fn object(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// Topics 0 to 5 are of objects, 6 to 9 the user's notifications without and with an id.
fn topic(number: u8, owner: UserId) -> Topic {
    match number {
        0..6 => Topic::Object(
            [EventType::IssueUpdate, EventType::DatasetUpdate][usize::from(number % 2)],
            object(number / 2),
        ),
        6 => Topic::Personal(EventType::Notification, owner, None),
        _ => Topic::Personal(EventType::Notification, owner, Some(object(number))),
    }
}

fn key(number: u8) -> KeyId {
    KeyId::of_no_key(number)
}

type Model = BTreeMap<(PeerId, String), Subscription>;

fn name(subscription: &Subscription) -> (PeerId, String) {
    (subscription.peer, format!("{:?}", subscription.topic))
}

/// Removes the matching subscriptions from the model.
fn take(model: &mut Model, wanted: impl Fn(&Subscription) -> bool) -> Vec<String> {
    let mut taken: Vec<String> = model.values().filter(|it| wanted(it)).map(|it| format!("{it:?}")).collect();
    model.retain(|_, it| !wanted(it));
    taken.sort();
    taken
}

fn sorted(ended: Vec<Subscription>) -> Vec<String> {
    let mut ended: Vec<String> = ended.iter().map(|it| format!("{it:?}")).collect();
    ended.sort();
    ended
}

fn agrees(real: &Subscriptions, model: &Model) {
    for kind in EventType::ALL {
        assert_eq!(
            real.count_of_kind(kind),
            model.values().filter(|it| it.topic.subject().kind == kind).count()
        );
    }
    let mut users: Vec<UserId> = model.values().map(|it| it.user).collect();
    users.sort();
    users.dedup();
    assert_eq!(real.users(), users.len());
    assert_eq!(
        real.next_end(),
        model.values().map(|it| it.lease.ends).filter(|&ends| ends != Wall::NEVER).min()
    );
    for owner in (0..4).map(user) {
        let mut peers: Vec<PeerId> = model.values().filter(|it| it.user == owner).map(|it| it.peer).collect();
        peers.dedup();
        assert_eq!(real.count_of_user(owner), peers.len());
        for number in 0..10 {
            let topic = topic(number, owner);
            let mut subscribers: Vec<usize> = real.subscribers(&topic).iter().map(|it| it.slot()).collect();
            subscribers.sort_unstable();
            let expected: Vec<usize> =
                model.values().filter(|it| it.topic == topic).map(|it| it.peer.index()).collect();
            assert_eq!(subscribers, expected, "{topic:?}");
        }
    }
    for id in [None, Some(object(7))] {
        for users in [None, Some(vec![user(1), user(3)])] {
            let mut reached: Vec<usize> =
                real.notified(EventType::Notification, users.as_deref(), id).collect();
            reached.sort_unstable();
            let is_meant = |it: &&Subscription| match it.topic {
                Topic::Personal(_, owner, wanted) => {
                    users.as_ref().is_none_or(|users| users.contains(&owner))
                        && (wanted.is_none() || wanted == id)
                }
                Topic::Object(..) => false,
            };
            let mut expected: Vec<usize> =
                model.values().filter(is_meant).map(|it| it.peer.index()).collect();
            expected.sort_unstable();
            assert_eq!(reached, expected);
        }
    }
    // No entry outlives its subscriptions.
    assert_eq!(real.subscriptions.len(), model.len());
    assert_eq!(real.topic_index.len(), real.topics.len());
    if model.is_empty() {
        assert!(
            real.topics.is_empty()
                && real.lists.is_empty()
                && real.user_index.is_empty()
                && real.sessions.is_empty()
                && real.leases.is_empty()
        );
        assert!(real.personal_topics.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_sequence_of_steps_agrees_with_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let mut real = Subscriptions::new();
        let mut model = Model::new();
        let mut generation = [0; 6];
        for step in steps {
            let mut ended = Vec::new();
            match step {
                Step::Attach { peer, user: owner, topic: number, ends, key: by } => {
                    let peer = PeerId::new(peer, generation[peer as usize]);
                    let lease = Lease { ends: ends.map_or(Wall::NEVER, |ends| Wall(ends.into())), key: key(by) };
                    let wanted = Subscription { peer, user: user(owner), topic: topic(number, user(owner)), lease };
                    let new = real.attach(peer, wanted.user, wanted.topic, lease);
                    let standing = model.get(&name(&wanted));
                    prop_assert_eq!(new, standing.is_none());
                    if !standing.is_some_and(|it| it.user == wanted.user && it.lease.ends > lease.ends) {
                        model.insert(name(&wanted), wanted);
                    }
                }
                Step::Detach { peer, user: owner, topic: number } => {
                    let peer = PeerId::new(peer, generation[peer as usize]);
                    let topic = topic(number, user(owner));
                    let was = model.remove(&(peer, format!("{topic:?}"))).is_some();
                    prop_assert_eq!(real.contains(peer, &topic), was);
                    prop_assert_eq!(real.detach(peer, &topic), was);
                }
                Step::Disconnect { peer } => {
                    let id = PeerId::new(peer, generation[peer as usize]);
                    let gone = take(&mut model, |it| it.peer == id);
                    prop_assert_eq!(real.count_of_peer(id), gone.len());
                    real.disconnect(id);
                    generation[peer as usize] += 1;
                }
                Step::EndUser { user: owner } => {
                    real.end_user(user(owner), |it| ended.push(it));
                    prop_assert_eq!(sorted(ended), take(&mut model, |it| it.user == user(owner)));
                }
                Step::EndTopic { user: owner, topic: number } => {
                    let topic = topic(number, user(owner));
                    real.end_topic_of_user(user(owner), &topic, |it| ended.push(it));
                    prop_assert_eq!(sorted(ended), take(&mut model, |it| it.user == user(owner) && it.topic == topic));
                }
                Step::Expire { now } => {
                    let now = Wall(now.into());
                    real.expire(now, |it| ended.push(it));
                    prop_assert!(ended.is_sorted_by_key(|it| it.lease.ends));
                    prop_assert_eq!(sorted(ended), take(&mut model, |it| it.lease.ends <= now));
                }
                Step::EndKey { key: by } => {
                    real.end_where(|it| (it.lease.key == key(by)).then_some(()), |it, ()| ended.push(it));
                    prop_assert_eq!(sorted(ended), take(&mut model, |it| it.lease.key == key(by)));
                }
            }
            agrees(&real, &model);
        }
    }
}

#[test]
fn a_renewal_with_the_same_end_rests_on_the_new_key() {
    let (peer, owner) = (PeerId::new(0, 1), user(1));
    for ends in [Wall(7), Wall::NEVER] {
        let mut real = Subscriptions::new();
        for by in [1, 2] {
            real.attach(peer, owner, topic(0, owner), Lease { ends, key: key(by) });
        }
        real.end_where(|it| (it.lease.key == key(1)).then_some(()), |it, ()| panic!("{it:?} rests on key 2"));
        assert_eq!(real.count_of_peer(peer), 1);
    }
}

/// Memory of a peer (8 bytes) with one subscription that shares its user and topic with no other.
#[test]
fn what_a_subscription_costs() {
    assert_eq!(size_of::<Peer>(), 8);
    // Including what the slab adds to mark a free slot.
    assert_eq!(size_of::<Option<Entry>>(), 32);
    assert_eq!(size_of::<Option<TopicEntry>>(), 40);
    assert_eq!(size_of::<Option<Session>>(), 40);
}
