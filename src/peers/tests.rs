//! What peers may cost, on a clock and with sockets of the tests' own.

use super::*;
use crate::cost::Shares;
use crate::websocket::deflate::WindowBits;
use crate::websocket::frame::{Frames, OpCode, encode};
use crate::websocket::handshake::{PageRequest, Rejection, Upgrade};
use crate::websocket::message::Message;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
fn a_peer_is_small() {
    assert_eq!(size_of::<Peer>(), 48);
}

#[test]
fn a_request_that_does_not_come_in_time_is_answered_with_408() {
    let mut world = World::new(limits());
    let id = world.connect();
    world.receive(id, b"GET / HTTP/1.1\r\n");
    world.until(4_900);
    assert_eq!(world.written(id), b"");
    world.until(5_200);
    assert!(world.written(id).starts_with(b"HTTP/1.1 408 "));
    assert_eq!(world.peers.counters().refused(408), 1);
    // It has closeSeconds to go, then its slot is free.
    world.until(8_100);
    assert_eq!(world.peers.len(), 1);
    world.until(8_400);
    assert_eq!(world.peers.len(), 0);
}

#[test]
fn a_message_that_is_not_finished_in_time_is_closed_with_1008() {
    let mut world = World::new(limits());
    let id = world.open();
    world.receive(id, &masked(0x01, b"begun"));
    // More of it does not help, nor does a ping in between.
    world.until(5_000);
    world.receive(id, &[masked(0x00, b"more"), masked(0x89, b"")].concat());
    world.until(9_000);
    assert!(world.peers.is_open(id));
    world.until(11_500);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::MessageNotFinished)]);
    assert!(world.written(id).ends_with(&close(1008, "message not finished in time")));
}

#[test]
fn who_does_not_answer_a_ping_is_gone_in_time_and_who_does_stays() {
    let mut world = World::new(limits());
    let (silent, alive) = (world.open(), world.open());
    world.until(25_300);
    let ping = b"\x89\x00";
    assert_eq!((world.written(silent), world.written(alive)), (ping.to_vec(), ping.to_vec()));
    world.receive(alive, &masked(0x8a, b""));
    world.until(34_800);
    assert!(world.peers.is_open(silent));
    world.until(35_600);
    assert!(!world.peers.is_open(silent) && world.peers.is_open(alive));
    assert_eq!(world.endings(), [Ending::NoPong]);
}

#[test]
fn s25_the_deadline_of_an_answered_ping_drops_no_peer_even_when_it_fires_late() {
    let mut world = World::new(limits());
    let id = world.open();
    world.until(26_000);
    world.receive(id, &masked(0x8a, b""));
    // The loop stands still: at once the first ping's deadline and the second ping are due.
    world.now.monotonic = Monotonic(START + 60_000);
    world.turn();
    assert!(world.peers.is_open(id));
    // The second one is not answered.
    world.until(71_000);
    assert_eq!(world.endings(), [Ending::NoPong]);
}

#[test]
fn s25_who_was_not_offered_the_ping_is_not_late_with_its_answer() {
    let mut world = World::new(limits());
    let id = world.open();
    world.until(24_900);
    // Turns that never come to this peer.
    for second in 26..50 {
        world.peers.advance(Monotonic(START + second * 1000));
    }
    assert!(world.peers.is_open(id));
    world.now.monotonic = Monotonic(START + 50_000);
    world.turn();
    world.receive(id, &masked(0x8a, b""));
    // Until the next one, which is due 25 seconds after the first, has had its time.
    world.until(60_000);
    assert!(world.peers.is_open(id));
}

#[test]
fn s13_control_frames_that_end_are_no_message_that_does_not() {
    let mut world = World::new(limits());
    let id = world.open();
    let ping = masked(0x89, b"");
    let (begin, end) = ping.split_at(3);
    world.receive(id, begin);
    for second in 1..20 {
        world.until(second * 1000);
        world.receive(id, &[end, begin].concat());
        assert!(world.peers.is_open(id), "second {second}");
    }
    // The last one does not end.
    world.until(32_000);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::MessageNotFinished)]);
}

#[test]
fn a_peer_that_is_not_read_from_is_late_with_nothing() {
    let mut world = World::new(limits());
    let [begun, idle] = [(); 2].map(|()| world.open());
    world.receive(begun, &masked(0x01, b"begun"));
    for id in [begun, idle] {
        world.peers.pause(id);
    }
    // Neither for the rest of its message nor for its pong, which is due at 35 seconds.
    world.until(40_000);
    assert!(world.peers.is_open(begun) && world.peers.is_open(idle));
    for id in [begun, idle] {
        world.peers.resume(id);
    }
    // The next ping's is due at 60 seconds.
    world.until(49_500);
    assert!(world.peers.is_open(begun), "its time begins when it is read from");
    world.until(51_500);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::MessageNotFinished)]);
    world.until(60_500);
    assert!(!world.peers.is_open(idle));
}

#[test]
fn a_message_whose_end_was_kept_is_not_late() {
    let mut world = World::new(limits());
    let id = world.open();
    world.receive(id, &masked(0x01, b"begun"));
    let mut end = masked(0x80, b"ended");
    world.peers.receive(&mut Doorman, id, &mut end, world.now, &mut Budget::new(0));
    assert!(world.peers.has_leftover(id));
    world.until(20_000);
    world.peers.receive_leftover(&mut Doorman, id, world.now, &mut Budget::unlimited());
    world.until(24_000);
    assert!(world.peers.is_open(id));
}

#[test]
fn what_waits_for_replies_to_be_offered_is_taken_afterwards() {
    let mut world = World::new(PeerLimits { frames_per_second: 0, ..limits() });
    let id = world.open();
    let mut pings = masked(0x81, &[b'.'; 100]).repeat(400);
    world.peers.receive(&mut Echo, id, &mut pings, world.now, &mut Budget::unlimited());
    let mut offered = 0;
    while world.peers.has_leftover(id) {
        assert_eq!(world.peers.take_resumed().count(), 0, "the replies were not offered yet");
        world.peers.flush(&mut world.sockets, SHARES, world.now.monotonic);
        assert_eq!(world.peers.take_resumed().collect::<Vec<_>>(), [id]);
        assert!(world.peers.wants_input(id));
        world.peers.receive_leftover(&mut Echo, id, world.now, &mut Budget::unlimited());
        offered += 1;
    }
    assert_eq!(offered, 2, "16 KiB each time");
    world.turn();
    assert_eq!(world.written(id).len(), 400 * 102);
}

#[test]
fn who_does_not_answer_a_close_is_gone_in_time() {
    let mut world = World::new(limits());
    let id = world.open();
    world.peers.close(id, CloseReason::Stopping, world.now.monotonic);
    world.until(2_900);
    assert_eq!(world.peers.len(), 1);
    world.until(3_200);
    assert_eq!(world.peers.len(), 0);
}

#[test]
fn who_was_not_offered_the_close_is_not_late_with_its_answer() {
    let mut world = World::new(limits());
    let id = world.open();
    world.peers.send(id, &prepared(100), world.now.monotonic);
    world.peers.close(id, CloseReason::Stopping, world.now.monotonic);
    // Turns that never come to this peer.
    for second in 1..=10 {
        world.peers.advance(Monotonic(START + second * 1000));
    }
    assert_eq!(world.peers.len(), 1);
    world.now.monotonic = Monotonic(START + 10_000);
    world.turn();
    assert_eq!(world.written(id), [bytes(100), close(1001, "server is stopping")].concat());
    world.until(14_000);
    assert_eq!(world.peers.len(), 0);
}

#[test]
fn s14_a_flood_of_frames_without_a_message_is_closed_with_1008() {
    for frame in [masked(0x89, b""), masked(0x8a, b"unasked")] {
        let mut world = World::new(limits());
        let (flooding, other) = (world.open(), world.open());
        world.receive(flooding, &frame.repeat(100));
        world.until(999);
        assert!(world.peers.is_open(flooding), "as many as are allowed in a second");
        world.until(1_000);
        world.receive(flooding, &frame.repeat(100));
        assert!(world.peers.is_open(flooding), "a second later");
        // However many come at once, no more than that are taken.
        world.receive(flooding, &frame.repeat(50_000));
        assert_eq!(world.peers.counters().other_frames, 201);
        assert!(!world.peers.is_open(flooding) && world.peers.is_open(other));
        assert_eq!(world.endings(), [Ending::Told(CloseReason::TooManyFrames)]);
        world.turn();
        assert!(world.written(flooding).ends_with(&close(1008, "too many frames without a message")));
    }
}

#[test]
fn s57_frames_that_came_during_a_stop_do_not_count_after_it_either() {
    let mut world = World::new(limits());
    let id = world.open();
    let ping = masked(0x89, b"");
    world.peers.set_catching_up(true);
    world.receive(id, &ping.repeat(150));
    assert!(world.peers.is_open(id));
    world.peers.set_catching_up(false);
    // The clock has stood still: it is the same second.
    world.receive(id, &ping);
    assert!(world.peers.is_open(id));
    world.receive(id, &ping.repeat(100));
    assert_eq!(world.endings(), [Ending::Told(CloseReason::TooManyFrames)]);
}

#[test]
fn a_request_that_has_come_and_waits_to_be_taken_is_not_late() {
    let mut world = World::new(limits());
    let id = world.connect();
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        .to_vec();
    world.peers.receive(&mut Doorman, id, &mut head, world.now, &mut Budget::new(0));
    assert!(world.peers.has_leftover(id));
    world.until(5_500);
    world.peers.receive_leftover(&mut Doorman, id, world.now, &mut Budget::unlimited());
    assert!(world.peers.is_open(id));
}

#[test]
fn the_time_of_a_message_does_not_begin_with_the_request() {
    let mut world = World::new(limits());
    let id = world.connect();
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (begin, end) = head.split_at(10);
    world.receive(id, begin);
    world.until(4_500);
    world.receive(id, &[end, &masked(0x01, b"begun")].concat());
    world.until(13_000);
    assert!(world.peers.is_open(id));
    world.until(16_000);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::MessageNotFinished)]);
}

#[test]
fn s14_fragments_without_contents_are_counted_too() {
    let mut world = World::new(limits());
    let id = world.open();
    // Whole messages, each in as many fragments as may be.
    let message = [masked(0x01, b""), masked(0x00, b"").repeat(62), masked(0x80, b"")].concat();
    world.receive(id, &message);
    assert!(world.peers.is_open(id));
    world.receive(id, &message);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::TooManyFrames)]);
}

#[test]
fn s14_zero_is_no_limit() {
    let mut world = World::new(PeerLimits { frames_per_second: 0, ..limits() });
    let id = world.open();
    world.receive(id, &masked(0x8a, b"").repeat(100_000));
    assert!(world.peers.is_open(id));
}

#[test]
fn who_is_gone_does_not_count_at_its_address_in_the_turn_it_comes_back() {
    let mut world = World::new(limits());
    let [gone, stays] = [(); 2].map(|()| world.open());
    let address = world.peers.address_of(stays).unwrap();
    assert_eq!(world.peers.count_at(address), 2);
    world.peers.disconnect(gone);
    assert_eq!(world.peers.count_at(address), 1, "it is not reaped yet");
    world.turn();
    assert_eq!(world.peers.count_at(address), 1);
}

#[test]
fn s21_a_full_queue_closes_only_the_peer_that_does_not_read() {
    let mut world = World::new(limits());
    let (stopped, reading) = (world.open_trusted(), world.open_trusted());
    world.sockets.room.insert(stopped, 0);
    for _ in 0..200 {
        world.deliver(&[stopped, reading], 1000);
        world.turn();
    }
    assert_eq!(world.endings(), [Ending::Told(CloseReason::SlowConsumer)]);
    assert_eq!(world.peers.counters().slow(Slowness::QueueFull), 1);
    assert_eq!(world.written(reading).len(), 200 * 1000);
    // What it gets, if it reads at last, is the rest of nothing and the close.
    world.make_room(stopped, usize::MAX);
    world.turn();
    assert_eq!(world.written(stopped), close(1008, "slow consumer"));
}

#[test]
fn s21_who_is_over_the_soft_limit_for_long_is_closed_though_it_reads_a_little() {
    let mut world = World::new(limits());
    let id = world.open_trusted();
    world.sockets.room.insert(id, 0);
    world.deliver(&[id], 60_000);
    for second in 1..=9 {
        world.until(second * 1000);
        world.make_room(id, 10);
        world.turn();
        assert!(world.peers.is_open(id), "second {second}");
    }
    world.until(12_500);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::SlowConsumer)]);
    assert_eq!(world.peers.counters().slow(Slowness::OverSoftLimit), 1);
}

#[test]
fn s21_who_reads_nothing_for_long_is_closed_though_little_is_queued() {
    let mut world = World::new(limits());
    let id = world.open_trusted();
    world.sockets.room.insert(id, 0);
    world.deliver(&[id], 100);
    world.until(9_500);
    assert!(world.peers.is_open(id));
    world.until(12_500);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::SlowConsumer)]);
    assert_eq!(world.peers.counters().slow(Slowness::NothingRead), 1);
}

#[test]
fn s21_who_was_under_the_soft_limit_has_all_its_time_again() {
    let mut world = World::new(limits());
    let id = world.open_trusted();
    world.sockets.room.insert(id, 0);
    world.deliver(&[id], 60_000);
    world.until(6_000);
    world.make_room(id, 20_000);
    world.turn();
    world.deliver(&[id], 20_000);
    for second in [11, 13, 15] {
        world.until(second * 1000);
        assert!(world.peers.is_open(id), "second {second}");
        world.make_room(id, 1);
    }
    world.until(17_500);
    assert_eq!(world.endings(), [Ending::Told(CloseReason::SlowConsumer)]);
    assert_eq!(world.peers.counters().slow(Slowness::OverSoftLimit), 1);
}

#[test]
fn s21_a_peer_that_does_not_read_gets_no_more_replies_than_its_queue_holds() {
    let mut world = World::new(limits());
    let id = world.open_trusted();
    world.sockets.room.insert(id, 0);
    world.deliver(&[id], 100);
    world.turn();
    for number in 1..100 {
        world.peers.send(id, &prepared(1000), world.now.monotonic);
        assert!(world.peers.is_open(id), "reply {number}");
    }
    world.peers.send(id, &prepared(1000), world.now.monotonic);
    world.turn();
    assert_eq!(world.endings(), [Ending::Told(CloseReason::SlowConsumer)]);
}

#[test]
fn s22_without_a_good_token_less_may_be_queued() {
    let mut world = World::new(limits());
    let (stranger, trusted) = (world.open(), world.open_trusted());
    for id in [stranger, trusted] {
        world.sockets.room.insert(id, 0);
    }
    // The first one finds the sockets full.
    for _ in 0..10 {
        for id in [stranger, trusted] {
            world.peers.send(id, &prepared(1000), world.now.monotonic);
        }
        world.turn();
    }
    assert!(world.peers.is_open(stranger) && world.peers.is_open(trusted));
    world.peers.send(stranger, &prepared(1000), world.now.monotonic);
    assert!(!world.peers.is_open(stranger) && world.peers.is_open(trusted));
    assert_eq!(world.peers.counters().slow(Slowness::QueueFull), 1);
}

#[test]
fn s23_when_all_queues_together_are_full_the_fullest_go_first() {
    let mut world = World::new(limits());
    let peers: Vec<PeerId> = (0..10).map(|_| world.open_trusted()).collect();
    for &id in &peers {
        world.sockets.room.insert(id, 0);
    }
    // 10, 20, … 100 kB: 550 kB in all, of which 300 may be. The last three have 270 kB of it.
    for (&id, tens) in peers.iter().zip(1..) {
        for _ in 0..tens {
            world.peers.send(id, &prepared(10_000), world.now.monotonic);
        }
    }
    world.until(1_500);
    let open: Vec<bool> = peers.iter().map(|&id| world.peers.is_open(id)).collect();
    assert_eq!(open, [true, true, true, true, true, true, true, false, false, false]);
    assert_eq!(world.peers.counters().slow(Slowness::AllQueuesFull), 3);
}

#[test]
fn s23_what_peers_share_is_counted_once() {
    let mut world = World::new(limits());
    let peers: Vec<PeerId> = (0..10).map(|_| world.open_trusted()).collect();
    for &id in &peers {
        world.sockets.room.insert(id, 0);
    }
    world.deliver(&peers, 90_000);
    world.until(1_500);
    assert!(peers.iter().all(|&id| world.peers.is_open(id)), "900 kB queued, 90 held");
    assert_eq!(world.peers.queued(), (900_000, 10));
}

#[test]
fn s23_closing_those_that_share_what_they_hold_frees_enough_of_it() {
    let mut world = World::new(limits());
    // Thirteen pairs; what each pair shares is freed only when both are closed.
    let peers: Vec<_> = (0..26).map(|_| world.open_trusted()).collect();
    world.sockets.room.extend(peers.iter().map(|&id| (id, 0)));
    for pair in 0..13 {
        world.deliver(&[peers[pair], peers[pair + 13]], 30_000);
        world.peers.flush(&mut world.sockets, SHARES, world.now.monotonic);
    }
    world.peers.bound_memory(world.now.monotonic);
    assert!(world.peers.held() <= world.peers.limits.queue_total, "{}", world.peers.held());
    assert!(world.peers.open() > 0);
}

#[test]
fn s23_what_a_peer_held_is_free_when_it_is_gone() {
    let mut world = World::new(limits());
    let id = world.open();
    world.receive(id, &masked(0x01, &[b'.'; 120]));
    world.deliver(&[id], 100);
    assert!(world.peers.held() > 220);
    world.peers.disconnect(id);
    assert_eq!(world.peers.held(), 0, "before its slot is");
    world.peers.settle(&mut Doorman);
}

#[test]
fn s23_what_closing_peers_hold_counts_too() {
    let mut world = World::new(limits());
    let peers: Vec<_> = (0..4).map(|_| world.open_trusted()).collect();
    world.sockets.room.extend(peers.iter().map(|&id| (id, 0)));
    for &id in &peers {
        world.deliver(&[id], 90_000);
        world.peers.flush(&mut world.sockets, SHARES, world.now.monotonic);
    }
    for &id in &peers[..3] {
        world.peers.close(id, CloseReason::Stopping, world.now.monotonic);
    }
    assert!(world.peers.held() > world.peers.limits.queue_total);
    world.peers.bound_memory(world.now.monotonic);
    assert!(world.peers.held() <= world.peers.limits.queue_total, "{}", world.peers.held());
}

#[test]
fn s23_a_slot_that_is_listed_for_two_peers_is_counted_once() {
    let mut world = World::new(limits());
    let first = world.open_trusted();
    world.deliver(&[first], 1000);
    world.peers.disconnect(first);
    world.peers.settle(&mut Doorman);
    world.peers.reap(&mut Budget::unlimited(), |_| {});
    // Its entry in the list of those to write to is still there.
    let second = world.connect();
    assert_eq!(second.index(), first.index());
    world.peers.slots.get_mut(second).unwrap().outgoing.push(frame(1000));
    world.peers.mark_dirty(second.index(), Lane::Event);
    assert_eq!(world.peers.queued(), (1000, 1));
}

#[test]
fn s55_slow_consumers_are_closed_a_turns_share_at_once() {
    let mut world = World::new(PeerLimits { queue_total: 100_000_000, ..limits() });
    let peers: Vec<_> = (0..2000).map(|_| world.open_trusted()).collect();
    world.sockets.room.extend(peers.iter().map(|&id| (id, 0)));
    world.deliver(&peers, 100);
    while world.peers.open() == 2000 {
        world.now.monotonic.0 += 100;
        world.turn();
    }
    assert!(world.peers.open() >= 900, "{}", world.peers.open());
    world.turn();
    assert_eq!(world.peers.open(), 0);
}

#[test]
fn s24_what_few_get_is_written_in_its_turn_however_many_wait_in_bulk() {
    let mut world = World::new(limits());
    let many: Vec<PeerId> = (0..5000).map(|_| world.open_trusted()).collect();
    let one = world.open_trusted();
    let mut shared = Shared::new(frame(100));
    let slots = many.iter().map(|id| id.index());
    world.peers.fan_out(slots, &mut shared, Lane::Bulk, world.now.monotonic);
    let written = |world: &World| many.iter().filter(|&&id| !world.written(id).is_empty()).count();
    let mut turns = 0;
    while written(&world) < many.len() {
        // One more in each turn, while the fan-out goes on.
        world.sockets.written.remove(&one);
        world.peers.send(one, &prepared(10), world.now.monotonic);
        let before = written(&world);
        world.peers.flush(&mut world.sockets, SHARES, world.now.monotonic);
        assert_eq!(world.written(one), bytes(10), "turn {turns}");
        assert!(written(&world) > before, "neither waits for the other");
        turns += 1;
    }
    assert!(turns > 10, "a fan-out takes many turns: {turns}");
}

#[test]
fn s27_a_drain_closes_every_peer_in_time_after_what_came_before() {
    let mut world = World::new(limits());
    let connecting = world.connect();
    let peers: Vec<PeerId> = (0..1000).map(|_| world.open_trusted()).collect();
    world.peers.drain(Duration::from_secs(10), 42, world.now.monotonic);
    world.turn();
    assert!(world.written(connecting).starts_with(b"HTTP/1.1 503 "));
    let mut open = Vec::new();
    for second in 1..=10 {
        let before: Vec<PeerId> = peers.iter().copied().filter(|&id| world.peers.is_open(id)).collect();
        world.deliver(&peers, 10);
        world.until(second * 1000);
        let expected = [bytes(10), close(1001, "server is stopping")].concat();
        for id in before.iter().filter(|&&id| !world.peers.is_open(id)) {
            assert!(world.written(*id).ends_with(&expected), "closed in second {second}");
        }
        open.push(world.peers.open());
    }
    // Evenly: within one of a hundred each second.
    for (left, second) in open.iter().zip(1..) {
        let even = 1000 - 100 * second;
        assert!((even - 1..=even + 1).contains(&i32::try_from(*left).unwrap()), "{open:?}");
    }
    assert_eq!(world.peers.counters().ended(Ending::Told(CloseReason::Stopping)), 1000);
    world.until(13_500);
    assert!(world.peers.is_empty());
}

#[test]
fn each_peer_gets_what_it_negotiated_and_an_idle_one_costs_the_same() {
    let mut world = World::new(limits());
    world.peers = world.peers.with_compression_from(100);
    let offers = ["none", USUAL_OFFER, "permessage-deflate; server_max_window_bits=9", USUAL_OFFER];
    let peers = offers.map(|offer| world.open_offering(offer));
    world.deliver(&peers, 99);
    world.deliver(&peers, 1_000);
    world.turn();
    let [plain, usual, small, other] = peers.map(|id| world.written(id));
    assert_eq!(plain, [bytes(99), bytes(1_000)].concat());
    assert_eq!(usual, other);
    for written in [&usual, &small] {
        assert_eq!(written[..99], bytes(99));
        assert_eq!(written[99], 0xc1, "a compressed text message");
        assert!(written.len() < 150);
    }
    // What would own something on the heap: a queue that is not empty, a message that has begun.
    for (id, bits) in peers.into_iter().zip([None, Some(15), Some(9), Some(15)]) {
        let Peer { outgoing, connection, .. } = world.peers.slots.get(id).unwrap();
        assert_eq!(connection.deflate().map(WindowBits::get), bits);
        assert_eq!(format!("{outgoing:?}"), format!("{:?}", Outgoing::default()));
        assert!(!connection.is_unfinished());
    }
}

#[test]
fn every_connection_is_in_exactly_one_sum() {
    let mut world = World::new(limits());
    let gone = world.connect();
    world.peers.disconnect(gone);
    let refused = world.connect();
    world.receive(refused, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    let _connecting = world.connect();
    let lost = world.open();
    world.peers.disconnect(lost);
    let closed = world.open();
    world.receive(closed, &masked(0x88, b"\x03\xe8"));
    let violating = world.open();
    world.receive(violating, b"\x81\x01a");
    let _open = world.open();
    world.turn();
    let counters = world.peers.counters();
    assert_eq!((counters.accepted, counters.opened, counters.abandoned, counters.refused(405)), (7, 4, 1, 1));
    assert_eq!((counters.connecting(), world.peers.open()), (1, 1));
    assert_eq!(counters.ended(Ending::Lost), 1);
    assert_eq!(counters.ended(Ending::Client), 1);
    assert_eq!(counters.ended(Ending::ProtocolError), 1);
}

/// Peers, their sockets, and a clock that goes only when it is told to.
struct World {
    peers: Peers,
    sockets: TestSockets,
    now: Now,
    opened: u32,
}

/// Lets everybody in and has nothing to say.
struct Doorman;

/// Answers each message with one as long.
struct Echo;

/// What has been written to each peer, and how much more its socket takes; without a number, anything.
#[derive(Default)]
struct TestSockets {
    written: HashMap<PeerId, Vec<u8>>,
    room: HashMap<PeerId, usize>,
    /// Those of whom the peers have asked to be told when they can be written to.
    awaited: HashSet<PeerId>,
    current: Option<PeerId>,
}

impl World {
    /// Lets a peer read whose socket was full.
    fn make_room(&mut self, id: PeerId, bytes: usize) {
        assert!(self.sockets.awaited.remove(&id), "the peers have asked to be told");
        self.sockets.room.insert(id, bytes);
        self.peers.writable(id);
    }

    fn new(limits: PeerLimits) -> Self {
        let now = Now { monotonic: Monotonic(START), ..Now::default() };
        Self { peers: Peers::new(limits, Limits::default()), sockets: TestSockets::default(), now, opened: 0 }
    }

    fn connect(&mut self) -> PeerId {
        self.peers.connect(&Doorman, Ipv4Addr::LOCALHOST.into(), self.now.monotonic).unwrap()
    }

    /// An open connection, to which nothing has been written yet.
    fn open(&mut self) -> PeerId {
        self.open_offering("none")
    }

    /// The same, made with this offer of an extension.
    fn open_offering(&mut self, extension: &str) -> PeerId {
        let id = self.connect();
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: {extension}\r\n\r\n"
        );
        self.receive(id, head.as_bytes());
        assert!(self.peers.is_open(id));
        self.turn();
        self.sockets.written.remove(&id);
        self.opened += 1;
        id
    }

    fn open_trusted(&mut self) -> PeerId {
        let id = self.open();
        self.peers.trust(id);
        id
    }

    fn receive(&mut self, id: PeerId, bytes: &[u8]) {
        self.peers.receive(&mut Doorman, id, &mut bytes.to_vec(), self.now, &mut Budget::unlimited());
        assert!(!self.peers.has_leftover(id));
    }

    /// Queues one frame of this length for all of these.
    fn deliver(&mut self, peers: &[PeerId], bytes: usize) {
        let mut shared = Shared::new(frame(bytes));
        let slots = peers.iter().map(|id| id.index());
        self.peers.fan_out(slots, &mut shared, Lane::Event, self.now.monotonic);
    }

    /// Advances the clock to this many milliseconds after the start, in turns.
    fn until(&mut self, millis: u64) {
        while self.now.monotonic < Monotonic(START + millis) {
            self.now.monotonic.0 = (self.now.monotonic.0 + 100).min(START + millis);
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.peers.advance(self.now.monotonic);
        while self.peers.has_unflushed() {
            self.peers.flush(&mut self.sockets, SHARES, self.now.monotonic);
        }
        self.peers.settle(&mut Doorman);
        self.peers.check_invariants();
        self.peers.reap(&mut Budget::unlimited(), |_| {});
    }

    fn written(&self, id: PeerId) -> Vec<u8> {
        self.sockets.written.get(&id).cloned().unwrap_or_default()
    }

    /// How connections have ended, each way once.
    fn endings(&self) -> Vec<Ending> {
        let ended = |&ending: &Ending| self.peers.counters().ended(ending) > 0;
        Ending::ALL.into_iter().filter(ended).collect()
    }
}

impl Application for Doorman {
    fn upgrade(&mut self, _: &mut Peers, _: PeerId, _: &Upgrade<'_>, _: Now) -> Result<(), Rejection> {
        Ok(())
    }

    fn page(&self, _: &PageRequest<'_>) -> Result<&[u8], Rejection> {
        Err(Rejection::NotFound)
    }

    fn message(&mut self, _: &mut Peers, _: PeerId, _: Message<'_>, _: Now) {}

    fn closed(&mut self, _: PeerId) {}
}

impl Application for Echo {
    fn upgrade(&mut self, _: &mut Peers, _: PeerId, _: &Upgrade<'_>, _: Now) -> Result<(), Rejection> {
        Ok(())
    }

    fn message(&mut self, peers: &mut Peers, id: PeerId, message: Message<'_>, now: Now) {
        peers.send(id, &prepared(message.payload().len() + 2), now.monotonic);
    }

    fn closed(&mut self, _: PeerId) {}
}

impl Sockets for TestSockets {
    type Socket = Self;

    fn socket(&mut self, peer: PeerId) -> &mut Self {
        self.current = Some(peer);
        self
    }

    fn await_writable(&mut self, peer: PeerId) -> io::Result<()> {
        assert_eq!(self.room.get(&peer), Some(&0), "asked for without need");
        self.awaited.insert(peer);
        Ok(())
    }

    fn shut(&mut self, _: PeerId) {}
}

impl Write for TestSockets {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let peer = self.current.expect("a socket was lent");
        let room = self.room.get(&peer).copied().unwrap_or(usize::MAX);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = bytes.len().min(room);
        self.written.entry(peer).or_default().extend_from_slice(&bytes[..length]);
        if room != usize::MAX {
            self.room.insert(peer, room - length);
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Those of the default turn.
const SHARES: Shares = Shares::of(Duration::from_millis(10));

/// What browsers offer.
const USUAL_OFFER: &str = "permessage-deflate; client_max_window_bits";

fn limits() -> PeerLimits {
    PeerLimits {
        peers: 10_000,
        handshake: Duration::from_secs(5),
        message: Duration::from_secs(10),
        frames_per_second: 100,
        ping: Duration::from_secs(25),
        pong: Duration::from_secs(10),
        close: Duration::from_secs(3),
        queue: 100_000,
        queue_soft: 50_000,
        queue_soft_time: Duration::from_secs(10),
        queue_unauthenticated: 10_000,
        queue_total: 300_000,
    }
}

/// A frame of a client's.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
}

/// A frame of this length.
fn prepared(length: usize) -> Prepared {
    Prepared::new(frame(length))
}

fn frame(length: usize) -> Frames {
    Frames::new(bytes(length))
}

fn bytes(length: usize) -> Vec<u8> {
    let header = [2, 4, 10].into_iter().find(|header| {
        let payload = length - header;
        matches!((header, payload), (2, ..126) | (4, 126..65_536) | (10, 65_536..))
    });
    let mut frame = Vec::new();
    encode(OpCode::Text, &vec![b'.'; length - header.unwrap()], None, &mut frame);
    assert_eq!(frame.len(), length);
    frame
}

/// A Close of ours.
fn close(code: u16, reason: &str) -> Vec<u8> {
    let length = u8::try_from(2 + reason.len()).unwrap();
    [&[0x88, length], &code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// When the clock starts: at the begin of one of its seconds.
const START: u64 = 1_000_000;
