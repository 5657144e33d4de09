// The client alone: which requests it sends, when, and how it handles every reply.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { ISSUE, Stage, idOf, tokenFor } from "./support/fake.js";

let stage;
beforeEach(() => (stage = new Stage()));
afterEach(() => stage.end());

const ATTACH = `attach issueUpdate ${ISSUE.id} token-1`;
const event = (topic, data = []) => ({ type: topic.type, id: topic.id ?? "", data });

/** A subscriber that records what it is told. */
function subscribe(topic = ISSUE) {
  const kept = { events: [], attached: [], errors: [] };
  kept.unsubscribe = stage.events.subscribe(topic, (event) => kept.events.push(event), {
    onAttached: (missed) => kept.attached.push(missed),
    onError: (error) => kept.errors.push(error),
  });
  return kept;
}

/** A subscriber whose subscription the server has accepted. */
async function attached(topic = ISSUE) {
  const kept = subscribe(topic);
  if (stage.events.status !== "open") await stage.open();
  await stage.settle();
  await stage.reply(0);
  assert.deepEqual(kept.attached.splice(0), [false]);
  stage.sent();
  return kept;
}

test("attaches when the connection opens, and passes events to the handler", async () => {
  assert.equal(stage.events.status, "connecting");
  const kept = subscribe({ type: "issueUpdate", id: ISSUE.id.toUpperCase() });
  await stage.settle();
  assert.equal(stage.asked, 0, "no token before there is a connection to use it on");
  await stage.open();
  assert.equal(stage.events.status, "open");
  assert.deepEqual(stage.sent(), [{ auth: "token-1", action: "attach", event: ISSUE }]);
  assert.deepEqual(kept.attached, []);
  await stage.reply(0);
  assert.deepEqual(kept.attached, [false]);
  assert.deepEqual(stage.heard("attached"), [{ topic: ISSUE, missed: false }]);
  await stage.receive(event(ISSUE, [{ state: "closed" }]));
  assert.deepEqual(kept.events, [event(ISSUE, [{ state: "closed" }])]);
  assert.deepEqual(stage.sent(), []);
});

test("all handlers of a topic share one subscription", async () => {
  const first = await attached();
  const second = subscribe();
  await stage.settle();
  assert.deepEqual(second.attached, [false], "events come already");
  assert.deepEqual(stage.sent(), []);
  await stage.receive(event(ISSUE));
  first.unsubscribe();
  first.unsubscribe();
  await stage.receive(event(ISSUE));
  assert.deepEqual([first.events.length, second.events.length], [1, 2]);
  assert.deepEqual(stage.sent(), []);
  second.unsubscribe();
  await stage.settle();
  assert.deepEqual(stage.asks(), [ATTACH.replace("attach", "detach")]);
  await stage.receive(event(ISSUE));
  assert.equal(second.events.length, 2);
  await stage.reply(0);
  assert.deepEqual(stage.sent(), []);
});

test("subscribing and unsubscribing at once sends no request", async () => {
  await attached({ type: "notification" });
  subscribe().unsubscribe();
  const kept = await attached({ type: "uploadFile", id: idOf(1) });
  kept.unsubscribe();
  subscribe({ type: "uploadFile", id: idOf(1) });
  await stage.settle();
  assert.deepEqual(stage.sent(), []);
});

test("one request per topic at a time, then whatever is needed by then", async () => {
  const first = subscribe();
  await stage.open();
  assert.deepEqual(stage.asks(), [ATTACH]);
  first.unsubscribe();
  await stage.settle();
  assert.deepEqual(stage.sent(), []);
  await stage.reply(0);
  assert.deepEqual(stage.asks(), [ATTACH.replace("attach", "detach")]);
  const second = subscribe();
  await stage.settle();
  assert.deepEqual([stage.sent(), second.attached], [[], []]);
  await stage.reply(0);
  assert.deepEqual(stage.asks(), [ATTACH]);
  await stage.reply(0);
  assert.deepEqual([first.attached, second.attached], [[], [false]]);
});

test("notifications: with an id only those, without one all, once to each handler", async () => {
  const all = await attached({ type: "notification" });
  const one = await attached({ type: "notification", id: idOf(1) });
  const issue = await attached({ type: "issueUpdate", id: idOf(1) });
  for (const id of ["", idOf(1), idOf(2)]) await stage.receive({ type: "notification", id, data: [] });
  assert.deepEqual(all.events.map(({ id }) => id), ["", idOf(1), idOf(2)]);
  assert.deepEqual(one.events.map(({ id }) => id), [idOf(1)]);
  assert.deepEqual(issue.events, []);
  await stage.take(4, { type: "notification", id: "" });
  await stage.receive({ type: "notification", id: idOf(1), data: [] });
  assert.deepEqual([all.events.length, one.events.length], [3, 2]);
});

test("replies match requests in order", async () => {
  await attached({ type: "notification" });
  const kept = [1, 2, 3].map((number) => subscribe({ type: "datasetUpdate", id: idOf(number) }));
  await stage.settle();
  await stage.reply(0, 4);
  await stage.receive({ type: "datasetUpdate", id: idOf(1), data: [] });
  await stage.reply(0);
  assert.deepEqual(kept.map(({ attached }) => attached), [[false], [], [false]]);
  assert.deepEqual(kept.map(({ errors }) => errors.map(({ code }) => code)), [[], [4], []]);
  assert.equal(kept[0].events.length, 1);
});

for (const code of [3, 4, 5, 6]) {
  test(`code ${code} ends the subscription and is reported to its subscribers`, async () => {
    await attached({ type: "notification" });
    const kept = [subscribe(), subscribe()];
    await stage.settle();
    await stage.reply(code);
    for (const { errors } of kept) {
      assert.deepEqual(errors.map(({ code, topic }) => ({ code, topic })), [{ code, topic: ISSUE }]);
    }
    assert.equal(kept[0].errors[0].message, stage.heard("error").map(({ message }) => message).join());
    stage.sent();
    kept[0].unsubscribe();
    await stage.lose();
    await stage.pass(2000);
    await stage.open();
    assert.deepEqual(stage.asks(), ["attach notification token-1"], "it is not asked for again");
    await stage.reply(0);
    await attached();
  });
}

for (const code of [7, 8]) {
  test(`code ${code} causes retries after growing pauses`, async () => {
    await attached({ type: "notification" });
    const kept = subscribe();
    await stage.settle();
    stage.sent();
    for (const pause of [1250, 2250, 4250, 8250, 10_250, 10_250]) {
      await stage.reply(code);
      await stage.pass(pause - 1);
      subscribe();
      await stage.settle();
      assert.deepEqual(stage.sent(), []);
      await stage.pass(1);
      assert.deepEqual(stage.asks(), [ATTACH]);
    }
    await stage.reply(0);
    assert.deepEqual(kept.attached, [false]);
    assert.deepEqual([kept.errors, stage.heard("error")], [[], []]);
  });
}

test("a postponed detach is retried", async () => {
  const kept = await attached();
  kept.unsubscribe();
  await stage.settle();
  await stage.reply(8);
  stage.sent();
  await stage.pass(1250);
  assert.deepEqual(stage.asks(), [ATTACH.replace("attach", "detach")]);
});

test("a refused token is replaced at once, and after pauses if that is refused too", async () => {
  stage.tokens = ["token-1", "token-2", "token-3", "token-4"];
  const kept = subscribe();
  await stage.open();
  assert.deepEqual(stage.asks(), [ATTACH]);
  await stage.reply(2);
  assert.deepEqual(stage.asks(), [ATTACH.replace("token-1", "token-2")]);
  assert.deepEqual(stage.heard("error"), []);
  await stage.reply(2);
  assert.deepEqual(stage.heard("error").map(({ code, topic }) => [code, topic]), [[2, undefined]]);
  subscribe({ type: "notification" });
  await stage.pass(2249);
  assert.deepEqual(stage.asks(), []);
  await stage.pass(1);
  assert.deepEqual(stage.asks(), [ATTACH.replace("token-1", "token-3")]);
  await stage.reply(0);
  assert.deepEqual([kept.attached, kept.errors], [[false], []]);
  assert.deepEqual(stage.asks(), ["attach notification token-3"]);
});

test("one request tries a new token while the others wait", async () => {
  for (let number = 0; number < 10; number += 1) subscribe({ type: "issueUpdate", id: idOf(number) });
  stage.tokens = ["bad", "good"];
  await stage.open();
  assert.equal(stage.asks().length, 1);
  await stage.reply(2);
  assert.deepEqual(stage.asks(), [`attach issueUpdate ${idOf(1)} good`]);
  await stage.reply(4);
  assert.equal(stage.asks().length, 9, "code 4 shows that the token is valid");
});

test("a token that cannot be obtained is requested again, and reported", async () => {
  const error = new Error("401 from /token");
  stage.tokens = [error, "", "token-1"];
  subscribe();
  await stage.open();
  assert.deepEqual(stage.heard("error"), [error]);
  await stage.pass(1249);
  assert.equal(stage.asked, 1);
  await stage.pass(1);
  assert.deepEqual(stage.heard("error").map(({ code, message }) => [code, message]), [[1, "Token not set"]]);
  await stage.pass(2250);
  assert.deepEqual(stage.asks(), [ATTACH]);
});

test("a token that arrives after the connection was lost is used on the next one", async () => {
  stage.tokens = [new Error("no network"), "token-1"];
  subscribe();
  await stage.open();
  await stage.lose();
  await stage.pass(1250);
  await stage.open();
  assert.deepEqual(stage.asks(), [ATTACH]);
});

test("a fresh token is obtained before the old one expires, and everything attached again with it", async () => {
  const [first, second] = [tokenFor(40, "first"), tokenFor(80, "second")];
  stage.tokens = [first, second];
  const kept = await attached();
  const other = await attached({ type: "notification" });
  await stage.pass(40_000 * 0.825 - 1);
  assert.deepEqual([stage.asked, stage.sent()], [1, []]);
  await stage.pass(1);
  assert.equal(stage.asked, 2);
  await stage.reply(0);
  assert.deepEqual(stage.asks(), [
    `attach issueUpdate ${ISSUE.id} ${second}`,
    `attach notification ${second}`,
  ]);
  await stage.reply(0);
  assert.deepEqual([kept.attached, other.attached], [[], []], "there was no gap");
});

test("a token without a known expiry, or with a wrong clock, is kept until the server refuses it", async () => {
  for (const token of ["no token", tokenFor(-5), "a.b.c"]) {
    stage.tokens = [token];
    await attached();
    const { asked } = stage;
    for (let minute = 0; minute < 30; minute += 1) {
      await stage.pass(60_000);
      if (stage.sent().length) await stage.reply(0);
    }
    assert.equal(stage.asked, asked, token);
    stage.end();
    stage = new Stage();
  }
});

test("an expiry beyond the range of timers does not fire at once", async () => {
  stage.tokens = [tokenFor(400 * 86_400)];
  await attached();
  await stage.pass(1000);
  assert.equal(stage.asked, 1);
});

test("a subscription that ended with its token is attached again, reporting a gap", async () => {
  stage.tokens = [tokenFor(7200), "token-2"];
  const kept = await attached();
  await stage.take(2, ISSUE);
  assert.deepEqual(stage.asks(), [`attach issueUpdate ${ISSUE.id} token-2`]);
  await stage.reply(0);
  assert.deepEqual([kept.attached, kept.errors], [[true], []]);
});

for (const code of [3, 4]) {
  test(`a subscription revoked with code ${code} ends`, async () => {
    const kept = await attached();
    await stage.take(code, ISSUE);
    assert.deepEqual(kept.errors.map(({ code, topic }) => [code, topic]), [[code, ISSUE]]);
    assert.deepEqual([stage.sent(), kept.attached], [[], []]);
    await stage.take(code, ISSUE);
    assert.equal(kept.errors.length, 1);
  });
}

test("after a lost connection: a pause, a new connection, the same token, and a report of the gap", async () => {
  const kept = await attached();
  const other = await attached({ type: "notification" });
  stage.heard("status");
  await stage.lose(1001, "going away");
  assert.deepEqual(stage.heard("status"), [{ status: "waiting", code: 1001, reason: "going away", delay: 1250 }]);
  const late = subscribe({ type: "uploadFile", id: idOf(1) });
  await stage.pass(1249);
  assert.equal(stage.sockets.length, 1);
  await stage.pass(1);
  assert.equal(stage.sockets.length, 2);
  await stage.open();
  assert.deepEqual(stage.asks(), [ATTACH]);
  await stage.reply(0);
  assert.deepEqual(stage.asks(), ["attach notification token-1", `attach uploadFile ${idOf(1)} token-1`]);
  await stage.reply(0, 0);
  assert.deepEqual([kept.attached, other.attached, late.attached], [[true], [true], [false]]);
  assert.equal(stage.asked, 1);
});

test("pauses grow to 20 s, are spread from 0.5 s on, and are short again after an Ok", async () => {
  subscribe();
  for (const [random, delays] of [[0, [500, 500, 500]], [0.999999, [16_000, 20_000, 20_000]]]) {
    stage.random = random;
    for (const delay of delays) {
      await stage.lose();
      const [{ delay: told }] = stage.heard("status").filter(({ status }) => status === "waiting");
      assert.equal(Math.round(told), delay);
      await stage.pass(delay);
    }
  }
  await stage.open();
  await stage.lose();
  assert.equal(Math.round(stage.heard("status").at(-1).delay), 20_000, "to be let in is not yet an Ok");
  await stage.pass(20_000);
  await stage.open();
  await stage.reply(0);
  await stage.lose();
  assert.equal(Math.round(stage.heard("status").at(-1).delay), 2000);
});

test("after a close with 1008 it waits as long as after many failures", async () => {
  await attached();
  stage.random = 0.999999;
  await stage.lose(1008, "slow consumer");
  assert.equal(Math.round(stage.heard("status").at(-1).delay), 20_000);
});

test("a connection that does not open is abandoned", async () => {
  await stage.pass(15_000);
  assert.equal(stage.socket.isClosed, true);
  assert.equal(stage.events.status, "waiting");
});

test("a request without a reply abandons the connection", async () => {
  subscribe();
  await stage.open();
  await stage.pass(19_999);
  assert.equal(stage.events.status, "open");
  await stage.pass(1);
  assert.equal(stage.events.status, "waiting");
  assert.equal(stage.sockets[0].isClosed, true);
});

test("the time for a reply starts again with each reply", async () => {
  await attached({ type: "notification" });
  subscribe({ type: "issueUpdate", id: idOf(1) });
  subscribe({ type: "issueUpdate", id: idOf(2) });
  await stage.settle();
  await stage.pass(19_000);
  await stage.reply(0);
  await stage.pass(19_000);
  assert.equal(stage.events.status, "open");
  await stage.reply(0);
  await stage.pass(20_000);
  assert.equal(stage.events.status, "open", "nothing is owed any more");
});

test("a connection that is silent for a minute is probed", async () => {
  const kept = await attached();
  await stage.pass(59_000);
  await stage.receive(event(ISSUE));
  await stage.pass(59_999);
  assert.deepEqual(stage.sent(), []);
  await stage.pass(1);
  assert.deepEqual(stage.asks(), [ATTACH]);
  await stage.reply(0);
  assert.deepEqual(kept.attached, []);
  await stage.pass(60_000);
  assert.deepEqual(stage.asks(), [ATTACH]);
  await stage.pass(20_000);
  assert.equal(stage.events.status, "waiting");
});

test("attaching many topics again stays below the server's rate", async () => {
  for (let number = 0; number < 400; number += 1) subscribe({ type: "issueUpdate", id: idOf(number) });
  await stage.open();
  await stage.reply(0);
  assert.equal(stage.sent().length, 200);
  let sent = 200;
  for (let second = 0; second < 5; second += 1) {
    for (let part = 0; part < 100; part += 1) await stage.pass(10);
    const now = stage.sent().length;
    assert.ok(now >= 15 && now <= 16, `${now} in a second`);
    sent += now;
    await stage.reply(...Array(now).fill(0));
  }
  assert.ok(sent < 300);
});

test("a handler that throws does not keep the event from others", async () => {
  const thrown = [];
  process.setUncaughtExceptionCaptureCallback((error) => thrown.push(error.message));
  stage.events.subscribe(ISSUE, () => {
    throw new Error("the page's own");
  });
  const kept = subscribe();
  await stage.open();
  await stage.reply(0);
  await stage.receive(event(ISSUE));
  process.setUncaughtExceptionCaptureCallback(null);
  assert.deepEqual([kept.events.length, thrown], [1, ["the page's own"]]);
});

test("a handler may unsubscribe and subscribe", async () => {
  const calls = [];
  const unsubscribe = stage.events.subscribe(ISSUE, () => {
    calls.push("first");
    unsubscribe();
    stage.events.subscribe(ISSUE, () => calls.push("second"));
  });
  await stage.open();
  await stage.reply(0);
  await stage.receive(event(ISSUE));
  await stage.receive(event(ISSUE));
  assert.deepEqual(calls, ["first", "second"]);
});

test("a handler unsubscribed by another one, or by close(), is not called again", async () => {
  const first = subscribe();
  stage.events.subscribe(ISSUE, () => second.unsubscribe());
  const second = subscribe();
  stage.events.subscribe(ISSUE, () => stage.events.close());
  const last = subscribe();
  await stage.open();
  await stage.reply(0);
  await stage.receive(event(ISSUE));
  assert.deepEqual([first, second, last].map(({ events }) => events.length), [1, 0, 0]);
});

test("after close() nothing happens", async () => {
  const kept = await attached();
  stage.events.close();
  stage.events.close();
  assert.equal(stage.events.status, "closed");
  assert.equal(stage.socket.isClosed, true);
  await stage.pass(3600_000);
  assert.equal(stage.sockets.length, 1);
  kept.unsubscribe();
  assert.throws(() => subscribe(), /closed/);
});

test("close() while a token is being obtained", async () => {
  let give;
  stage.tokens = [new Promise((resolve) => (give = resolve))];
  subscribe();
  await stage.open();
  stage.events.close();
  give("token-1");
  await stage.pass(60_000);
  assert.deepEqual([stage.socket.sent, stage.sockets.length], [[], 1]);
});
