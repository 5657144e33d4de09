// 1,000 clients and a server that is killed: none misses a later event, and they do not all reconnect at once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { AirlayEvents } from "../airlay-events.js";
import { ISSUE, Server, idOf, tokenFor } from "./support/server.js";

const CLIENTS = 1000;

test("1,000 clients survive kill -9 of the server", { timeout: 300_000 }, async () => {
  const server = await Server.start();
  // The state is a single number, and each event carries its new value.
  let number = 0;
  const clients = Array.from({ length: CLIENTS }, (_, index) => new Client(server.url, index));
  try {
    await Promise.all(clients.map((client) => client.until(() => client.attached === 1)));
    await server.publish(ISSUE, (number += 1));
    await Promise.all(clients.map((client) => client.until(() => client.seen.at(-1) === number)));

    const killed = performance.now();
    await server.kill();
    // Down until half of the clients have tried to reconnect.
    const tried = clients.map((client) => client.until(() => client.pauses.length === 2));
    await some(tried, CLIENTS / 2);
    await server.run();
    // Publish meanwhile, one event for each fifty clients that are back.
    let back = 0;
    await Promise.all(clients.map(async (client) => {
      await client.until(() => client.attached === 2);
      client.snapshot = number;
      client.returned = performance.now() - killed;
      back += 1;
      if (back % 50 === 0) {
        number += 1;
        await server.produce({ ...ISSUE, data: number });
      }
    }));
    assert.equal(await server.publish(ISSUE, (number += 1)), CLIENTS);
    await Promise.all(clients.map((client) => client.until(() => client.seen.at(-1) === number)));

    for (const { seen, snapshot, missed } of clients) {
      assert.deepEqual(missed, [false, true]);
      const later = seen.filter((each) => each > snapshot);
      assert.deepEqual(later, Array.from({ length: number - snapshot }, (_, index) => snapshot + 1 + index));
      assert.deepEqual(seen, [...new Set(seen)].sort((one, other) => one - other), "in order, each once");
    }
    const first = clients.map(({ pauses }) => pauses[0]);
    const second = clients.flatMap(({ pauses }) => pauses.slice(1, 2));
    console.log(`first pause, ms: clients\n${histogram(first, 2000)}`);
    console.log(`second pause, ms: clients\n${histogram(second, 4000)}`);
    console.log(`attached again, ms after the kill: clients\n${histogram(clients.map((each) => each.returned))}`);
    assertSpread(first, 500, 2000);
    assertSpread(second, 500, 4000);
  } finally {
    for (const { events } of clients) events.close();
    await server.end();
  }
});

class Client {
  seen = [];
  missed = [];
  pauses = [];
  #waiting = [];

  constructor(url, index) {
    const token = tokenFor(7200, idOf(index));
    this.events = new AirlayEvents(url, { token: () => token, WebSocket });
    this.events.addEventListener("status", ({ detail: { status, delay } }) => {
      if (status === "waiting") this.pauses.push(delay);
      this.#look();
    });
    this.events.subscribe(ISSUE, ({ data }) => this.#look(this.seen.push(data)), {
      onAttached: (missed) => this.#look(this.missed.push(missed)),
    });
  }

  get attached() {
    return this.missed.length;
  }

  /** Resolves when the condition holds; synchronously within the change that makes it hold. */
  until(condition) {
    return new Promise((resolve) => {
      this.#waiting.push({ condition, resolve });
      this.#look();
    });
  }

  #look() {
    this.#waiting = this.#waiting.filter(({ condition, resolve }) => !condition() || resolve());
  }
}

/** Resolves when this number of the promises have. */
function some(promises, count) {
  return new Promise((resolve) => {
    for (const promise of promises) promise.then(() => (count -= 1) || resolve());
  });
}

/**
 * Asserts that the values are uniform between `low` and `high`: in each of ten equal parts, the count is within six standard
 * deviations of its expectation. Chance violates this about once in a hundred million runs.
 */
function assertSpread(delays, low, high) {
  const counts = Array(10).fill(0);
  for (const delay of delays) {
    assert.ok(delay >= low && delay < high, `${delay}`);
    counts[Math.floor(((delay - low) / (high - low)) * 10)] += 1;
  }
  const expected = delays.length / 10;
  const most = 6 * Math.sqrt(expected * 0.9);
  for (const count of counts) assert.ok(Math.abs(count - expected) <= most, `${counts}, each should be near ${expected}`);
}

function histogram(values, high = Math.max(...values)) {
  const width = Math.ceil(high / 20 / 50) * 50;
  const counts = [];
  for (const value of values) {
    const index = Math.floor(value / width);
    counts[index] = (counts[index] ?? 0) + 1;
  }
  return Array.from(counts, (count = 0, index) => {
    return `${String(index * width).padStart(6)} ${String(count).padStart(4)} ${"#".repeat(Math.ceil(count / 5))}`;
  }).join("\n");
}
