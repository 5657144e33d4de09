// The client in a real browser against the real server: killed, slow, silent, and with expiring tokens.

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";
import { Proxy } from "./support/proxy.js";
import { ISSUE, Server, idOf, tokenFor } from "./support/server.js";

const CLIENT = fs.readFileSync(new URL("../airlay-events.js", import.meta.url));
const PAGE = `<!doctype html><title>Test</title><link rel="icon" href="data:,"><script type="module">
  import { AirlayEvents } from "./airlay-events.js";
  // What the page was told, in order.
  window.told = [];
  window.connect = (url) => {
    window.events = new AirlayEvents(url, { token: async () => (await fetch("/token")).text() });
    events.addEventListener("status", ({ detail: { status } }) => told.push(status));
  };
  window.subscribe = (topic) => events.subscribe(topic, ({ data }) => told.push(data), {
    onAttached: (missed) => told.push(missed ? "attached after a gap" : "attached"),
    onError: ({ code }) => told.push(code),
  });
</script>`;
// Only to fail instead of hanging.
const TIMEOUT = { timeout: 60_000 };

let browser, site;
/** The lifetimes of the next tokens, in seconds; after that, two hours. */
let tokens = [];
let given;
const open = [];

before(async () => {
  const program = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
  site = http.createServer((request, response) => {
    const [type, body] = {
      "/": ["text/html", () => PAGE],
      "/airlay-events.js": ["text/javascript", () => CLIENT],
      "/token": ["text/plain", () => (given = tokens.length ? tokenFor(tokens.shift()) : tokenFor())],
    }[request.url];
    response.setHeader("Content-Type", type);
    response.end(body());
  });
  await once(site.listen(0, "127.0.0.1"), "listening");
});

after(async () => {
  await browser?.close();
  site?.closeAllConnections();
  site?.close();
});

afterEach(async () => {
  tokens = [];
  for (const each of open.splice(0).reverse()) await (each.end?.() ?? each.close());
});

async function start() {
  const server = await Server.start();
  open.push(server);
  return server;
}

/** A page whose client is attached to the issue, through this address. With `isTimed`, the test moves its clock. */
async function visit(url, { isTimed = false } = {}) {
  const page = await browser.newPage();
  open.push(page);
  page.requests = new Requests();
  page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => page.requests.add(JSON.parse(payload))));
  if (isTimed) await page.clock.install();
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.waitForFunction(() => window.connect);
  await page.evaluate((url) => connect(url), url);
  await subscribe(page, ISSUE);
  await tell(page, "open", "attached");
  return page;
}

/** The tokens in the requests that a page has sent. */
class Requests extends EventTarget {
  tokens = [];

  add({ auth }) {
    this.tokens.push(auth);
    this.dispatchEvent(new Event("sent"));
  }

  /** The first one that is not this. */
  async other(token) {
    for (;;) {
      const other = this.tokens.find((each) => each !== token);
      if (other) return other;
      await once(this, "sent");
    }
  }
}

const subscribe = (page, topic) => page.evaluate((topic) => void subscribe(topic), topic);

/** Waits until the page has been told these, in this order and possibly with others between; forgets what came before. */
async function tell(page, ...expected) {
  for (const each of expected) {
    await page.waitForFunction((each) => told.some((one) => JSON.stringify(one) === each), JSON.stringify(each));
    await page.evaluate((each) => {
      told.splice(0, told.findIndex((one) => JSON.stringify(one) === each) + 1);
    }, JSON.stringify(each));
  }
}

const told = (page) => page.evaluate(() => window.told);

test("after a crash of the server the page is attached again and told of the gap", TIMEOUT, async () => {
  const server = await start();
  const page = await visit(server.url);
  await server.publish(ISSUE, [1]);
  await tell(page, [1]);
  await server.kill();
  await tell(page, "waiting", "connecting", "waiting");
  await server.run();
  await tell(page, "open", "attached after a gap");
  await server.publish(ISSUE, [2]);
  await tell(page, [2]);
});

test("a stop and a start of the server, as for an upgrade", TIMEOUT, async () => {
  const server = await start();
  const page = await visit(server.url);
  await server.stop("SIGTERM");
  await server.run();
  await tell(page, "waiting", "open", "attached after a gap");
  await server.publish(ISSUE, [1]);
  await tell(page, [1]);
});

test("a slow network loses and reorders nothing", TIMEOUT, async () => {
  const server = await start();
  const proxy = await Proxy.start(server.port);
  open.push(proxy);
  const page = await visit(proxy.url);
  proxy.bytesAtOnce = 64;
  const topics = [1, 2, 3, 4, 5].map((number) => ({ type: "issueUpdate", id: idOf(number) }));
  for (const topic of topics) await subscribe(page, topic);
  await tell(page, ...topics.map(() => "attached"));
  for (let number = 0; number < 20; number += 1) await server.publish(ISSUE, [number, "x".repeat(50)]);
  await page.waitForFunction(() => told.length === 20);
  assert.deepEqual((await told(page)).map(([number]) => number), Array.from({ length: 20 }, (_, number) => number));
  assert.equal(proxy.connections, 1);
});

test("a silent connection is abandoned and replaced", TIMEOUT, async () => {
  const server = await start();
  const proxy = await Proxy.start(server.port);
  open.push(proxy);
  const page = await visit(proxy.url, { isTimed: true });
  proxy.bytesAtOnce = 0;
  await server.publish(ISSUE, ["missed"]);
  // A minute of silence, then twenty seconds without a reply.
  await page.clock.runFor(60_000);
  await page.clock.runFor(20_000);
  await tell(page, "waiting");
  proxy.bytesAtOnce = Infinity;
  await page.clock.runFor(2000);
  await tell(page, "attached after a gap");
  await server.publish(ISSUE, [1]);
  await tell(page, [1]);
  assert.equal(proxy.connections, 2);
});

test("a token is replaced before it expires, and nothing is missed", TIMEOUT, async () => {
  const server = await start();
  tokens = [3600];
  const page = await visit(server.url, { isTimed: true });
  const first = given;
  await page.clock.fastForward(3600_000 * 0.9);
  assert.equal(await page.requests.other(first), given);
  await server.publish(ISSUE, [1]);
  await tell(page, [1]);
  assert.deepEqual(await told(page), []);
});

test("a token that expires causes a gap, which is reported", TIMEOUT, async () => {
  const server = await start();
  tokens = [5];
  const page = await visit(server.url);
  await tell(page, "attached after a gap");
  await server.publish(ISSUE, [1]);
  await tell(page, [1]);
});

test("a token that has expired by the time of a reconnect is not used again", TIMEOUT, async () => {
  const server = await start();
  tokens = [3600];
  const page = await visit(server.url, { isTimed: true });
  const first = given;
  await server.kill();
  await tell(page, "waiting");
  await server.run();
  await page.clock.fastForward(3600_000);
  await tell(page, "attached after a gap");
  assert.equal(await page.requests.other(first), given);
  assert.equal(page.requests.tokens.length, 2);
});

test("offline and online again", TIMEOUT, async () => {
  const server = await start();
  const page = await visit(server.url, { isTimed: true });
  await server.kill();
  await tell(page, "waiting");
  await page.context().setOffline(true);
  for (let failure = 0; failure < 5; failure += 1) {
    await page.clock.runFor(20_000);
    await tell(page, "waiting");
  }
  await server.run();
  await page.context().setOffline(false);
  await page.clock.runFor(2000);
  await tell(page, "attached after a gap");
});
