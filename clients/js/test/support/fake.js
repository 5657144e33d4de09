// A fake WebSocket and a fake clock, for tests of the client alone.

import { mock } from "node:test";
import { AirlayEvents } from "../../airlay-events.js";

export const ISSUE = { type: "issueUpdate", id: "610217e481f6fc54736209e0" };
const MESSAGES = ["Ok", "Token not set", "Invalid token", "User not exists", "Not access for dataset", "Invalid request",
  "Too many subscriptions", "Too many requests", "Temporarily unavailable"];

/** The client under test and its environment. Every random number is `random`, so all pauses are known. */
export class Stage {
  sockets = [];
  /** What `token()` returns, in order; the last is repeated. An `Error` is thrown. */
  tokens = ["token-1"];
  asked = 0;
  told = [];
  random = 0.5;

  constructor() {
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_800_000_000_000 });
    mock.method(performance, "now", () => Date.now());
    mock.method(Math, "random", () => this.random);
    const { sockets } = this;
    class FakeSocket {
      sent = [];
      isClosed = false;
      constructor(url) {
        this.url = url;
        sockets.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close() {
        this.isClosed = true;
      }
    }
    this.events = new AirlayEvents("ws://airlay.example/ws", { token: () => this.#token(), WebSocket: FakeSocket });
    for (const type of ["status", "attached", "error"]) {
      this.events.addEventListener(type, ({ detail }) => this.told.push([type, detail]));
    }
  }

  async #token() {
    this.asked += 1;
    const token = this.tokens.length > 1 ? this.tokens.shift() : this.tokens[0];
    if (token instanceof Error) throw token;
    return token;
  }

  end() {
    this.events.close();
    mock.timers.reset();
    mock.restoreAll();
  }

  get socket() {
    return this.sockets.at(-1);
  }

  /** Runs all pending microtasks and tasks. */
  async settle() {
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
  }

  /** Advances the clock by milliseconds. */
  async pass(milliseconds) {
    mock.timers.tick(milliseconds);
    await this.settle();
  }

  async open() {
    this.socket.onopen();
    await this.settle();
  }

  async lose(code = 1006, reason = "") {
    this.socket.onclose({ code, reason });
    await this.settle();
  }

  async receive(message) {
    this.socket.onmessage({ data: JSON.stringify(message) });
    await this.settle();
  }

  /** Receives a reply for each of these codes. */
  async reply(...codes) {
    for (const code of codes) await this.receive({ status: code ? 400 : 200, message: MESSAGES[code], code });
  }

  /** Receives an unsolicited message: a subscription has ended. */
  async take(code, event) {
    await this.receive({ status: 400, message: MESSAGES[code], code, event });
  }

  /** What was sent on the newest connection since the last call. */
  sent() {
    return this.socket.sent.splice(0);
  }

  /** The same, each as a short text. */
  asks() {
    return this.sent().map(({ auth, action, event }) => `${action} ${event.type} ${event.id} ${auth}`.replace("  ", " "));
  }

  /** The events of one kind dispatched since the last call. */
  heard(type) {
    const heard = this.told.filter(([kind]) => kind === type).map(([, detail]) => detail);
    this.told = this.told.filter(([kind]) => kind !== type);
    return heard;
  }
}

/** A fake token that expires in `seconds` seconds. */
export function tokenFor(seconds, name = "") {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "RS256" })}.${part({ exp: Date.now() / 1000 + seconds, data: { name } })}.c2ln`;
}

/** The id of the object with this number. */
export function idOf(number) {
  return number.toString(16).padStart(24, "0");
}
