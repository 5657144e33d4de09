//! Target `server`: decodes and plays a script.

use arbitrary::{Result, Unstructured};

use super::cast::{SUBJECTS, USERS, tokens};
use super::world::{World, frame};
use crate::api::{Action, Code, Request, Subject};
use crate::peers::PeerId;
use crate::websocket::frame::OpCode;

/// The extension headers that a client may send.
const OFFERS: [&str; 3] = [
    "",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n",
];

const MOST_STEPS: usize = 200;

/// The input encodes a script: clients connect, send requests, read, stall and leave; producers publish and revoke; the
/// access service answers or does not; time passes.
///
/// Every request must get one reply, in order. A client must receive each event of its subscriptions once, in order,
/// without a gap, and no other event; or its connection must end. Every line with `ack`, and every invalid line, must
/// get one answer.
///
/// # Panics
///
/// If a check fails.
pub fn server(data: &[u8]) {
    let mut script = Unstructured::new(data);
    // A script that ends within a step is just shorter.
    let _ = play(&mut script);
}

fn play(script: &mut Unstructured<'_>) -> Result<()> {
    let mut world = World::new(script.int_in_range(0..=2)?, script.arbitrary()?);
    for _ in 0..MOST_STEPS {
        if script.is_empty() {
            break;
        }
        match script.int_in_range(0..=15)? {
            // Consecutive lines of producers share a turn with the step that follows them.
            kind @ 7..=11 => step_of_producer(kind, &mut world, script)?,
            kind => {
                step(kind, &mut world, script)?;
                world.turn();
            }
        }
    }
    world.end();
    Ok(())
}

fn step_of_producer(kind: u8, world: &mut World, script: &mut Unstructured<'_>) -> Result<()> {
    let bytes = match kind {
        7..=9 => event_line(world.published.len(), script)?.into_bytes(),
        10 => {
            let user = script.choose(&USERS)?;
            let event = match script.arbitrary()? {
                true => format!(",\"event\":{}", event(*script.choose(&SUBJECTS)?)),
                false => String::new(),
            };
            format!("{{\"control\":\"revoke\",\"user\":\"{user}\"{event}}}\n").into_bytes()
        }
        _ => {
            let mut bytes = some_bytes(40, script)?;
            // Without a `{` it cannot form an event, which would have no number.
            bytes.iter_mut().filter(|byte| **byte == b'{').for_each(|byte| *byte = b'[');
            bytes
        }
    };
    world.write(script.int_in_range(0..=1)?, &bytes);
    Ok(())
}

fn step(kind: u8, world: &mut World, script: &mut Unstructured<'_>) -> Result<()> {
    match kind {
        0 => world.connect(script.choose(&OFFERS)?),
        1..=6 | 12 | 15 => {
            let place = script.int_in_range(0..=world.clients().max(1) - 1)?;
            if let Some(client) = world.client(place) {
                step_of_client(kind, client, world, script)?;
            }
        }
        13 => {
            let milliseconds = *script.choose(&[1, 999, 5_000, 10_000, 25_000, 60_000])?;
            let wall = match script.int_in_range(0..=7)? {
                0 => -3_600_000,
                1 => 3_600_000,
                _ => milliseconds,
            };
            world.now.monotonic.0 = world.now.monotonic.0.saturating_add_signed(milliseconds);
            world.now.wall.0 = world.now.wall.0.saturating_add_signed(wall);
        }
        _ if script.ratio(1, 8)? => {
            let (now, random) = (world.now, script.arbitrary()?);
            world.server.act(now, |hub, peers| match hub.access_attempt() {
                Some(_) => hub.access_connected(),
                None => hub.access_disconnected(peers, now, random),
            });
        }
        _ => world.answer(*script.choose(&[Code::Ok, Code::Ok, Code::UserNotExists, Code::NoAccess])?),
    }
    Ok(())
}

fn step_of_client(kind: u8, client: PeerId, world: &mut World, script: &mut Unstructured<'_>) -> Result<()> {
    match kind {
        1..=4 => {
            let own = client.generation() as usize % 2;
            let request = request(script, own)?;
            world.send(client, &frame(OpCode::Text, &request), usize::from(script.arbitrary::<u8>()?));
        }
        5 => {
            let opcode = *script.choose(&[OpCode::Text, OpCode::Binary, OpCode::Ping, OpCode::Close])?;
            world.send(client, &frame(opcode, &some_bytes(16, script)?), 0);
        }
        6 => world.send(client, &some_bytes(16, script)?, 0),
        12 => world.read(client, *script.choose(&[1, 10, 100, 1 << 20])?),
        _ => world.leave(client),
    }
    Ok(())
}

fn some_bytes(most: usize, script: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = script.int_in_range(0..=most)?;
    script.bytes(length).map(<[u8]>::to_vec)
}

/// The line of event `number`.
fn event_line(number: usize, script: &mut Unstructured<'_>) -> Result<String> {
    let subject = *script.choose(&SUBJECTS)?;
    let mut users = String::new();
    if subject.kind.is_personal() {
        users = match script.int_in_range(0..=2)? {
            0 => ",\"users\":\"*\"".to_owned(),
            user => format!(",\"users\":[\"{}\"]", USERS[user - 1]),
        };
    }
    let ack = if script.arbitrary()? { ",\"ack\":7" } else { "" };
    let event = event(subject);
    Ok(format!("{}{users},\"data\":{number}{ack}}}\n", event.trim_end_matches('}')))
}

/// A request of a client that may subscribe to the notifications of user `own` only.
fn request(script: &mut Unstructured<'_>, own: usize) -> Result<Vec<u8>> {
    let mut subject = *script.choose(&SUBJECTS)?;
    let token = script.int_in_range(0..=3)?;
    if subject.kind.is_personal() && token % 2 != own {
        // The message about a lost subscription does not name the user.
        subject = SUBJECTS[0];
    }
    let action = if script.ratio(3, 4)? { Action::Attach } else { Action::Detach };
    let mut request = Vec::new();
    let auth = tokens()[token].as_str().into();
    Request { auth, action, subject }.encode(&mut request);
    Ok(request)
}

/// The `event` of a request.
fn event(subject: Subject) -> String {
    let id = subject.id.map(|id| id.to_string()).unwrap_or_default();
    format!("{{\"type\":\"{}\",\"id\":\"{id}\"}}", subject.kind.as_str())
}
