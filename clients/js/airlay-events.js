/**
 * The browser client of the Airlay event service: one WebSocket that reconnects by itself, and subscriptions that
 * outlive it. Of the page it uses only the `online`, `offline` and `visibilitychange` events.
 *
 * @module
 */

/**
 * A connection to the service, opened immediately and kept open until `close()`.
 *
 * It dispatches `CustomEvent`s: `status` when the connection changes, `attached` when the server has accepted a
 * subscription (`detail.missed`: after a gap), `error` when a subscription has ended or a token was refused or could
 * not be obtained.
 */
export class AirlayEvents extends EventTarget {
  #url;
  #askForToken;
  #WebSocket;
  #ended = new AbortController();
  #timers = new Map();

  #status;
  #socket;
  /** Failed connections since the server last replied Ok. */
  #failures = 0;
  /** Rate limiting (GCRA): the moment until which the requests so far use up the server's rate. */
  #takenUp = 0;

  /** The access token in use; undefined if a fresh one is needed. */
  #token;
  /** When to replace the token, in milliseconds of the wall clock. */
  #renewAt = Infinity;
  #isAsking = false;
  /** Whether the server has accepted the token on this connection. */
  #isProven = false;
  /** Tokens refused or not obtained since one was last accepted. */
  #refusals = 0;

  /** All topics by their key; see `#topic`. */
  #topics = new Map();
  /** Topics that may need a request. */
  #changed = new Set();
  /** Requests without a reply, oldest first: replies come in the order of the requests. */
  #unanswered = [];

  /**
   * @param {string | URL} url the endpoint, `wss://…/ws`
   * @param {object} options
   * @param {() => string | Promise<string>} options.token returns an access token with some time left; called before
   *   the first subscription, before a token expires and when the server has refused one
   * @param {any} [options.WebSocket] the class to connect with, if not the global one
   */
  constructor(url, { token, WebSocket = globalThis.WebSocket }) {
    super();
    this.#url = url;
    this.#askForToken = token;
    this.#WebSocket = WebSocket;
    const { signal } = this.#ended;
    const page = globalThis.document;
    for (const [target, type] of [[globalThis, "online"], [globalThis, "offline"], [page, "visibilitychange"]]) {
      target?.addEventListener?.(type, () => page?.hidden || this.#wake(type), { signal });
    }
    this.#connect();
  }

  /** `connecting`, `open`, `waiting` (to reconnect) or `closed` (by `close()`). */
  get status() {
    return this.#status;
  }

  /**
   * Calls `handler` with every event of a topic, from the moment the server accepts the subscription until the
   * returned function is called. All handlers of a topic share one subscription.
   *
   * @param {import("./airlay-events.js").Topic} topic without an id: every notification of the token's user
   * @param {(event: import("./airlay-events.js").AirlayEvent) => void} handler
   * @param {object} [callbacks]
   * @param {(missed: boolean) => void} [callbacks.onAttached] called when events start to arrive; with `true` after a
   *   gap in which events may have been missed: fetch the current state again
   * @param {(error: Error) => void} [callbacks.onError] called when the server refuses or revokes the subscription
   *   (`error.code` 3 to 6), which ends it for all handlers of the topic
   * @returns {() => void} unsubscribes
   */
  subscribe({ type, id }, handler, { onAttached, onError } = {}) {
    if (this.#ended.signal.aborted) throw new Error("The connection is closed");
    const topic = this.#topic(type, (id ?? "").toLowerCase());
    const subscriber = { handler, onAttached, onError };
    topic.subscribers.add(subscriber);
    if (topic.token) queueMicrotask(() => topic.subscribers.has(subscriber) && call(onAttached, false));
    this.#touch(topic);
    return () => {
      topic.subscribers.delete(subscriber);
      this.#touch(topic);
    };
  }

  /** Closes the connection and ends all subscriptions, permanently. */
  close() {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#abandon(1000);
    for (const { subscribers } of this.#topics.values()) subscribers.clear();
    this.#topics.clear();
    this.#tell("closed");
  }

  // The connection.

  #connect() {
    const socket = new this.#WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    // A close event always follows, with at least as much detail.
    socket.onerror = () => {};
    this.#after("connection", CONNECT_TIME, () => this.#lost(1006, "no connection in time"));
    this.#tell("connecting");
  }

  #opened() {
    this.#cancel("connection");
    if (Date.now() >= this.#renewAt) this.#token = undefined;
    if (this.#token) this.#scheduleRenewal();
    this.#tell("open");
    this.#ask();
  }

  #lost(code, reason) {
    this.#abandon();
    // Policy violation, such as too many requests or reading too slowly: wait the longest pause.
    if (code === 1008) this.#failures = Infinity;
    const delay = jitter(this.#failures++);
    this.#after("connection", delay, () => this.#connect());
    this.#tell("waiting", { code, reason, delay });
  }

  /** Drops the socket and all state that depends on it. */
  #abandon(code) {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
    for (const name of this.#timers.keys()) this.#cancel(name);
    this.#takenUp = 0;
    this.#isProven = false;
    this.#unanswered = [];
    for (const topic of this.#topics.values()) {
      topic.missed ||= !!topic.token;
      topic.token = undefined;
      topic.isBusy = false;
      topic.delays = 0;
      this.#changed.add(topic);
    }
  }

  /** The page has become visible, or the network has changed: the connection may be dead, or possible again. */
  #wake(type) {
    if (this.#status === "open") {
      this.#probe();
      if (Date.now() >= this.#renewAt) this.#renew();
    } else if (this.#status === "waiting" && type !== "offline") {
      this.#failures = 0;
      this.#after("connection", jitter(0), () => this.#connect());
    }
  }

  /** Sends a request that the server must answer: the only way to detect a connection that died silently. */
  #probe() {
    if (globalThis.document?.hidden || this.#unanswered.length) return;
    for (const topic of this.#topics.values()) {
      if (topic.token && !topic.isBusy) {
        topic.isProbe = true;
        this.#changed.add(topic);
        return this.#ask();
      }
    }
  }

  // Requests and replies.

  /** The state of a topic, created if new. */
  #topic(type, id) {
    const key = keyOf(type, id);
    let topic = this.#topics.get(key);
    if (!topic) {
      topic = {
        key,
        event: { type, id },
        subscribers: new Set(),
        /** The token it is attached with; undefined if it is not attached. */
        token: undefined,
        /** Has a request without a reply, or waits to retry one. */
        isBusy: false,
        /** Needs a repeated attach, to see that the connection lives. */
        isProbe: false,
        /** Lost a subscription and is not yet attached again, so events may have been missed. */
        missed: false,
        /** Consecutive replies that postponed it. */
        delays: 0,
      };
      this.#topics.set(key, topic);
    }
    return topic;
  }

  /** Reconsiders a topic once the page's running script has finished. */
  #touch(topic) {
    this.#changed.add(topic);
    queueMicrotask(() => this.#ask());
  }

  /** Sends the requests that changed topics need, within the limits of token and rate. */
  #ask() {
    if (this.#status !== "open") return;
    for (const topic of this.#changed) {
      const isWanted = topic.subscribers.size > 0;
      const isDone = isWanted ? topic.token && topic.token === this.#token && !topic.isProbe : !topic.token;
      if (topic.isBusy || isDone) {
        this.#changed.delete(topic);
        if (!topic.isBusy && !isWanted && this.#topics.get(topic.key) === topic) this.#topics.delete(topic.key);
        continue;
      }
      if (!this.#token) return this.#timers.has("token") || this.#renew();
      // Try a new token with a single request: five refused in a row would close the connection.
      if (!this.#isProven && this.#unanswered.length) return;
      const now = performance.now();
      const wait = this.#takenUp - now - (BURST - 1) * INTERVAL;
      if (wait > 0) return this.#after("rate", wait, () => this.#ask());
      this.#takenUp = Math.max(this.#takenUp, now) + INTERVAL;
      this.#changed.delete(topic);
      this.#send(topic, isWanted ? "attach" : "detach");
    }
  }

  #send(topic, action) {
    topic.isBusy = true;
    topic.isProbe = false;
    // A handler added from now on needs a new attach.
    if (action === "detach") topic.token = undefined;
    this.#socket.send(JSON.stringify({ auth: this.#token, action, event: topic.event }));
    if (this.#unanswered.push({ topic, action, token: this.#token }) === 1) this.#expectReply();
  }

  #expectReply() {
    this.#after("reply", REPLY_TIME, () => this.#lost(1006, "no reply in time"));
  }

  #receive(message) {
    this.#after("quiet", QUIET_TIME, () => this.#probe());
    if (message.type) this.#deliver(message);
    else if (message.event) this.#subscriptionEnded(message);
    else this.#answered(message);
  }

  #deliver(event) {
    const { type, id } = event;
    const keys = [keyOf(type, id)];
    // A notification subscription without an id gets notifications with any id.
    if (type === "notification" && id) keys.push(keyOf(type, ""));
    for (const key of keys) {
      const topic = this.#topics.get(key);
      if (topic) callAll(topic, "handler", event);
    }
  }

  /** The server has ended a subscription. */
  #subscriptionEnded({ code, message, event: { type, id } }) {
    const topic = this.#topics.get(keyOf(type, id));
    if (!topic) return;
    if (code !== 2) return this.#end(topic, code, message);
    if (topic.token && topic.token === this.#token) this.#forgetToken();
    topic.token = undefined;
    topic.missed = true;
    this.#touch(topic);
  }

  #answered({ code, message }) {
    const { topic, action, token } = this.#unanswered.shift();
    if (this.#unanswered.length) this.#expectReply();
    else this.#cancel("reply");
    topic.isBusy = false;
    if (![1, 2, 5, 7].includes(code) && token === this.#token) {
      this.#isProven = true;
      this.#refusals = 0;
    }
    this.#changed.add(topic);
    const isAttach = action === "attach";
    if (code === 0) {
      this.#failures = topic.delays = 0;
      if (isAttach) this.#granted(topic, token);
      else topic.missed = false;
    } else if ([1, 2, 7, 8].includes(code)) {
      if (!isAttach) topic.token = token;
      if (code < 7) this.#refused(token, failure(message, { code }));
      else this.#putOff(topic, code);
    } else if (isAttach) {
      this.#end(topic, code, message);
    }
    this.#ask();
  }

  #granted(topic, token) {
    const wasAttached = topic.token;
    topic.token = token;
    if (wasAttached || this.#topics.get(topic.key) !== topic) return;
    const { missed, event } = topic;
    topic.missed = false;
    callAll(topic, "onAttached", missed);
    this.#dispatch("attached", { topic: event, missed });
  }

  /** The server is busy, or the rate was exceeded: retry after a pause, even if handlers are added meanwhile. */
  #putOff(topic, code) {
    if (code === 7) this.#takenUp = performance.now() + BURST * INTERVAL;
    topic.isBusy = true;
    this.#after(topic.key, jitter(topic.delays++), () => {
      topic.isBusy = false;
      this.#touch(topic);
    });
  }

  /** A topic cannot be attached to: notifies its subscribers and forgets it. */
  #end(topic, code, message) {
    if (this.#topics.get(topic.key) !== topic) return;
    this.#topics.delete(topic.key);
    this.#changed.delete(topic);
    const error = failure(message, { code, topic: topic.event });
    topic.token = undefined;
    callAll(topic, "onError", error);
    topic.subscribers.clear();
    this.#dispatch("error", error);
  }

  // The token.

  async #renew() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    let token;
    try {
      token = await this.#askForToken();
      if (!token) throw failure("Token not set", { code: 1 });
    } catch (error) {
      token = undefined;
      this.#withoutToken(error);
    }
    this.#isAsking = false;
    if (!token || this.#ended.signal.aborted) return;
    if (token !== this.#token) this.#isProven = false;
    this.#token = token;
    this.#renewAt = renewalOf(token);
    for (const topic of this.#topics.values()) this.#changed.add(topic);
    this.#scheduleRenewal();
    this.#ask();
  }

  #scheduleRenewal() {
    this.#after("token", this.#renewAt - Date.now(), () => {
      if (this.#topics.size) this.#renew();
      else this.#token = undefined;
    });
  }

  #forgetToken() {
    this.#token = undefined;
    this.#cancel("token");
  }

  /** The server has refused this token. The first time it may just have expired: get a fresh one at once. */
  #refused(token, error) {
    if (token !== this.#token) return;
    this.#forgetToken();
    if (this.#refusals) this.#withoutToken(error);
    else this.#refusals = 1;
  }

  /** No valid token could be obtained: retry after a pause. */
  #withoutToken(error) {
    if (this.#ended.signal.aborted) return;
    this.#after("token", jitter(this.#refusals++), () => this.#renew());
    this.#dispatch("error", error);
  }

  // Helpers.

  #tell(status, more) {
    this.#status = status;
    this.#dispatch("status", { status, ...more });
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #after(name, delay, then) {
    this.#cancel(name);
    // A longer delay would overflow to none (HTML, timer initialization steps).
    const timer = setTimeout(() => {
      this.#timers.delete(name);
      then();
    }, Math.min(delay, 0x7fffffff));
    this.#timers.set(name, timer);
  }

  #cancel(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

/** Milliseconds to wait after `failures` failures: random between 500 and a limit that doubles from 2 s up to 20 s. */
function jitter(failures) {
  return 500 + Math.random() * (Math.min(2000 * 2 ** failures, 20_000) - 500);
}

/** When to replace a token: after 75 to 90 % of its remaining lifetime, at random so that pages do not ask in step. */
function renewalOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const left = JSON.parse(atob(payload)).exp * 1000 - Date.now();
    // With a wrong clock every token may look expired; the server refuses those that are.
    if (left > 0) return Date.now() + Math.max(left * (0.75 + Math.random() * 0.15), 5000);
  } catch {
    // Not a readable token: leave the verdict to the server.
  }
  return Infinity;
}

function keyOf(type, id) {
  return `${type} ${id}`;
}

function failure(message, more) {
  return Object.assign(new Error(message), more);
}

/** Calls each current subscriber, except those that an earlier one has unsubscribed. */
function callAll({ subscribers }, name, argument) {
  for (const subscriber of [...subscribers]) {
    if (subscribers.has(subscriber)) call(subscriber[name], argument);
  }
}

/** Calls a callback of the page. An exception is reported to the page without disturbing other callbacks. */
function call(callback, argument) {
  try {
    callback?.(argument);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// Milliseconds.
const CONNECT_TIME = 15_000;
const REPLY_TIME = 20_000;
const QUIET_TIME = 60_000;

// The server accepts 20 requests a second and bursts of 256 (config keys requestsPerSecond, requestBurst). Stay below
// both, since the network may deliver evenly sent requests late and in one burst.
const INTERVAL = 1000 / 16;
const BURST = 200;
