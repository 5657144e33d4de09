// How the client handles the page's events: hidden and visible, offline and online.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { ISSUE, Stage, tokenFor } from "./support/fake.js";

let stage, page;

beforeEach(async () => {
  page = Object.assign(new EventTarget(), { hidden: false });
  const network = new EventTarget();
  globalThis.document = page;
  globalThis.addEventListener = network.addEventListener.bind(network);
  globalThis.dispatchEvent = network.dispatchEvent.bind(network);
  stage = new Stage();
  stage.events.subscribe(ISSUE, () => {});
});

afterEach(() => {
  stage.end();
  for (const name of ["document", "addEventListener", "dispatchEvent"]) delete globalThis[name];
});

async function attach() {
  await stage.open();
  await stage.reply(0);
  stage.sent();
}

async function show(isVisible) {
  page.hidden = !isVisible;
  page.dispatchEvent(new Event("visibilitychange"));
  await stage.settle();
}

async function network(type) {
  globalThis.dispatchEvent(new Event(type));
  await stage.settle();
}

test("a hidden page does not probe its connection, but does once visible", async () => {
  await attach();
  await show(false);
  await stage.pass(3600_000);
  assert.deepEqual(stage.asks(), []);
  await show(true);
  assert.equal(stage.asks().length, 1);
  await show(true);
  assert.deepEqual(stage.asks(), [], "one is on its way");
  await stage.reply(0);
  await stage.pass(60_000);
  assert.equal(stage.asks().length, 1);
});

test("a hidden page still reconnects", async () => {
  await attach();
  await show(false);
  await stage.lose();
  await stage.pass(1250);
  await attach();
});

test("offline: the connection is probed, and abandoned without a reply", async () => {
  await attach();
  await network("offline");
  assert.equal(stage.asks().length, 1);
  await stage.pass(20_000);
  assert.equal(stage.events.status, "waiting");
});

for (const [what, happen] of [["online again", () => network("online")], ["seen again", () => show(true)]]) {
  test(`${what}, a page does not wait out a long pause`, async () => {
    for (let failure = 0; failure < 6; failure += 1) {
      await stage.lose();
      await stage.pass(10_250);
    }
    await stage.lose();
    const before = stage.sockets.length;
    await network("offline");
    await stage.pass(1250);
    assert.equal(stage.sockets.length, before);
    await happen();
    await stage.pass(1249);
    assert.equal(stage.sockets.length, before, "spread all the same");
    await stage.pass(1);
    assert.equal(stage.sockets.length, before + 1);
  });
}

test("a page that slept past its token's renewal replaces it on waking", async () => {
  stage.tokens = [tokenFor(600, "first"), tokenFor(7200, "second")];
  await attach();
  // The clock advances but no timer fires, as when a machine sleeps.
  const { now } = Date;
  Date.now = () => now() + 550_000;
  await show(true);
  Date.now = now;
  assert.equal(stage.asked, 2);
});

test("after close() the page's events are ignored", async () => {
  await attach();
  stage.events.close();
  await network("online");
  await show(true);
  await stage.pass(60_000);
  assert.equal(stage.sockets.length, 1);
});
