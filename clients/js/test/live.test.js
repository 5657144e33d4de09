// The client against the real server.

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import readline from "node:readline";
import { afterEach, test } from "node:test";
import { WebSocket } from "ws";
import { AirlayEvents } from "../airlay-events.js";
import { ISSUE, Server, USER, idOf, tokenFor } from "./support/server.js";

// Only to fail instead of hanging.
const TIMEOUT = { timeout: 60_000 };
const NOTIFICATIONS = { type: "notification" };

const open = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await (each.close?.() ?? each.end?.());
});

async function start(sections) {
  const server = await Server.start(sections);
  open.push(server);
  return server;
}

function connect(server, token = () => tokenFor()) {
  const events = new AirlayEvents(server.url, { token, WebSocket });
  open.push(events);
  return events;
}

/** A queue of what a subscriber is told: events as their data, anything else as its kind. */
class Subscriber {
  #told = [];
  #wanted = new EventTarget();

  constructor(events, topic) {
    const keep = (told) => {
      this.#told.push(told);
      this.#wanted.dispatchEvent(new Event("told"));
    };
    this.unsubscribe = events.subscribe(topic, ({ data }) => keep(data), {
      onAttached: (missed) => keep({ missed }),
      onError: ({ code }) => keep({ code }),
    });
  }

  async next() {
    while (!this.#told.length) await once(this.#wanted, "told");
    return this.#told.shift();
  }

  async isAttached(missed = false) {
    assert.deepEqual(await this.next(), { missed });
    return this;
  }
}

const subscribe = (events, topic = ISSUE) => new Subscriber(events, topic).isAttached();

test("a published event reaches the handler", TIMEOUT, async () => {
  const server = await start();
  const events = connect(server);
  const subscriber = await subscribe(events);
  for (const data of [[{ state: "closed" }], [], null, "текст", 1.5]) {
    assert.equal(await server.publish(ISSUE, data), 1);
    assert.deepEqual(await subscriber.next(), data);
  }
  subscriber.unsubscribe();
  const other = await subscribe(events, { type: "uploadFile", id: idOf(1) });
  assert.equal(await server.publish(ISSUE, [1]), 0);
  await server.publish({ type: "uploadFile", id: idOf(1) }, [2]);
  assert.deepEqual(await other.next(), [2]);
});

test("notifications reach their users, with and without an id", TIMEOUT, async () => {
  const server = await start();
  const events = connect(server);
  const all = await subscribe(events, NOTIFICATIONS);
  const one = await subscribe(events, { ...NOTIFICATIONS, id: idOf(1) });
  const stranger = await subscribe(connect(server, () => tokenFor(7200, idOf(9))), NOTIFICATIONS);
  await server.publish(NOTIFICATIONS, ["without"], { users: [USER] });
  await server.publish({ ...NOTIFICATIONS, id: idOf(2) }, ["another"], { users: [USER] });
  await server.publish({ ...NOTIFICATIONS, id: idOf(1) }, ["this"], { users: [USER] });
  await server.publish(NOTIFICATIONS, ["all"], { users: "*" });
  for (const data of ["without", "another", "this", "all"]) assert.deepEqual(await all.next(), [data]);
  assert.deepEqual(await one.next(), ["this"]);
  assert.deepEqual(await stranger.next(), ["all"]);
});

test("after a crash of the server the client is attached again and told of the gap", TIMEOUT, async () => {
  const server = await start();
  const events = connect(server);
  const subscriber = await subscribe(events);
  const other = await subscribe(events, NOTIFICATIONS);
  for (const signal of ["SIGKILL", "SIGTERM"]) {
    const lost = once(events, "status");
    await server.stop(signal);
    const [{ detail }] = await lost;
    assert.deepEqual([detail.status, detail.code], ["waiting", signal === "SIGTERM" ? 1001 : 1006]);
    await server.run();
    await subscriber.isAttached(true);
    await other.isAttached(true);
    await server.publish(ISSUE, [signal]);
    assert.deepEqual(await subscriber.next(), [signal]);
  }
});

test("a subscription ends with its token and resumes with a fresh one", TIMEOUT, async () => {
  const server = await start();
  const seconds = [5, 7200];
  const events = connect(server, () => tokenFor(seconds.shift()));
  const subscriber = await subscribe(events);
  await subscriber.isAttached(true);
  await server.publish(ISSUE, [1]);
  assert.deepEqual(await subscriber.next(), [1]);
});

test("an expired token is replaced at once, and a bad one is reported", TIMEOUT, async () => {
  const server = await start();
  const tokens = [tokenFor(-60), "no token", tokenFor()];
  const events = connect(server, () => tokens.shift());
  const [[{ detail }]] = await Promise.all([once(events, "error"), subscribe(events)]);
  assert.equal(detail.code, 2);
});

test("a revoked subscription ends with an error", TIMEOUT, async () => {
  const server = await start();
  const events = connect(server);
  const issue = await subscribe(events);
  const other = await subscribe(events, NOTIFICATIONS);
  await server.produce({ control: "revoke", user: USER, event: ISSUE });
  assert.deepEqual(await issue.next(), { code: 4 });
  await server.produce({ control: "revoke", user: USER });
  assert.deepEqual(await other.next(), { code: 3 });
});

test("what the access file forbids is an error of that subscriber", TIMEOUT, async () => {
  const server = await start();
  await server.kill();
  fs.writeFileSync(server.path("access.json"), JSON.stringify({ users: { [USER]: { datasets: [idOf(1)] } } }));
  server.configure({ access: { mode: "file", file: "access.json" } });
  await server.run();
  const events = connect(server);
  const allowed = await subscribe(events, { type: "datasetUpdate", id: idOf(1) });
  const forbidden = new Subscriber(events, { type: "datasetUpdate", id: idOf(2) });
  assert.deepEqual(await forbidden.next(), { code: 4 });
  const malformed = new Subscriber(events, { type: "datasetUpdate", id: "2" });
  assert.deepEqual(await malformed.next(), { code: 5 });
  const stranger = new Subscriber(connect(server, () => tokenFor(7200, idOf(9))), ISSUE);
  assert.deepEqual(await stranger.next(), { code: 3 });
  await server.publish({ type: "datasetUpdate", id: idOf(1) }, [1]);
  assert.deepEqual(await allowed.next(), [1]);
});

test("one subscription more than the server allows is an error of that subscriber", TIMEOUT, async () => {
  const server = await start({ limits: { subscriptions: 2 } });
  const events = connect(server);
  const first = await subscribe(events);
  await subscribe(events, NOTIFICATIONS);
  const third = { type: "uploadFile", id: idOf(1) };
  assert.deepEqual(await new Subscriber(events, third).next(), { code: 6 });
  first.unsubscribe();
  await subscribe(events, third);
});

test("above the server's rate, everything is attached in the end", TIMEOUT, async () => {
  const server = await start({ limits: { requestsPerSecond: 20, requestBurst: 5 } });
  const events = connect(server);
  const topics = Array.from({ length: 20 }, (_, number) => ({ type: "issueUpdate", id: idOf(number) }));
  const subscribers = await Promise.all(topics.map((topic) => subscribe(events, topic)));
  for (const topic of topics) await server.publish(topic, topic.id);
  for (const [number, subscriber] of subscribers.entries()) assert.equal(await subscriber.next(), idOf(number));
});

test("without an access service attaching is retried", TIMEOUT, async () => {
  const server = await start({ access: { mode: "socket", socket: "access.sock" } });
  const codes = new EventTarget();
  class Watched extends WebSocket {
    constructor(url) {
      super(url);
      this.on("message", (text) => codes.dispatchEvent(new Event(JSON.parse(text).code)));
    }
  }
  const unavailable = once(codes, "8");
  const events = new AirlayEvents(server.url, { token: () => tokenFor(), WebSocket: Watched });
  open.push(events);
  const attached = subscribe(events);
  await unavailable;
  // An access service to which every user is known.
  const service = net.createServer((connection) => {
    readline.createInterface({ input: connection }).on("line", (line) => {
      connection.write(JSON.stringify({ ref: JSON.parse(line).ref, code: 0 }) + "\n");
    });
  });
  await once(service.listen(server.path("access.sock")), "listening");
  await attached;
  service.close();
});

test("128 subscriptions are attached again in one burst", TIMEOUT, async () => {
  const server = await start();
  const events = connect(server);
  const topics = Array.from({ length: 128 }, (_, number) => ({ type: "issueUpdate", id: idOf(number) }));
  const subscribers = await Promise.all(topics.map((topic) => subscribe(events, topic)));
  await server.kill();
  await server.run();
  await Promise.all(subscribers.map((subscriber) => subscriber.isAttached(true)));
  for (const topic of topics) assert.equal(await server.publish(topic, topic.id), 1);
  for (const [number, subscriber] of subscribers.entries()) assert.equal(await subscriber.next(), idOf(number));
});
