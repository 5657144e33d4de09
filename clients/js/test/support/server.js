// The real server for the tests in this folder, the program named by AIRLAY_CLI, on a port that it keeps over restarts.

import { spawn } from "node:child_process";
import crypto from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

export const USER = "5dad615eae019570fb4647ed";
export const ISSUE = { type: "issueUpdate", id: "610217e481f6fc54736209e0" };

const PROGRAM = process.env.AIRLAY_CLI;
const FIXTURES = fileURLToPath(new URL("../../../../tests/fixtures", import.meta.url));
// A fixture's first line describes it.
const [KEY] = fs.readFileSync(`${FIXTURES}/live-2048.pem`, "utf8").match(/-----BEGIN[^]*/);

export class Server {
  log = [];
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), "airlay-client-"));
  #process;
  #producer;

  /** @param sections lines of the configuration by section, added to those of all tests */
  static async start(sections = {}) {
    if (!PROGRAM) throw new Error("AIRLAY_CLI must name the program to test");
    const server = new Server();
    server.port = await freePort();
    server.url = `ws://127.0.0.1:${server.port}/ws`;
    server.configure(sections);
    await server.run();
    return server;
  }

  configure(sections) {
    const all = {
      webSocketEvents: { address: "127.0.0.1", port: this.port },
      events: { socket: "events.sock" },
      token: { publicKey: `${FIXTURES}/live-2048.pub.pem`, issuer: "dev.airlay.ru", leewaySeconds: 0 },
      access: { mode: "token" },
      limits: { drainSeconds: 0 },
      metrics: { address: "" },
    };
    const lines = Object.entries(all).flatMap(([section, keys]) => [
      `[${section}]`,
      ...Object.entries({ ...keys, ...sections[section] }).map(([key, value]) => `${key} = ${value}`),
    ]);
    fs.writeFileSync(this.path("config.ini"), lines.join("\n"));
  }

  /** The path of a file beside the configuration. */
  path(name) {
    return path.join(this.#folder, name);
  }

  /** Starts it (again) and waits until it is ready. */
  async run() {
    const child = spawn(PROGRAM, ["web_socket", "server", "--config", this.path("config.ini")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#process = child;
    await new Promise((resolve, reject) => {
      readline.createInterface({ input: child.stderr }).on("line", (line) => {
        this.log.push(line);
        if (line.includes("msg=ready")) resolve();
      });
      child.once("exit", () => reject(new Error(`the server does not run:\n${this.log.join("\n")}`)));
    });
  }

  /** Ends it with a signal and waits for its exit. */
  async stop(signal) {
    this.#producer?.destroy();
    this.#producer = undefined;
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  kill() {
    return this.stop("SIGKILL");
  }

  async end() {
    await this.kill();
    fs.rmSync(this.#folder, { recursive: true });
  }

  /** Writes one line to the events socket. With an `ack`, waits for the answer and returns it. */
  async produce(line) {
    if (!this.#producer) {
      this.#producer = net.connect(this.path("events.sock"));
      this.#producer.answers = readline.createInterface({ input: this.#producer });
    }
    this.#producer.write(JSON.stringify(line) + "\n");
    if (line.ack === undefined) return undefined;
    const [answer] = await once(this.#producer.answers, "line");
    return JSON.parse(answer);
  }

  /** Publishes an event and returns the number of its subscribers. */
  async publish(topic, data, more) {
    const { message, subscribers } = await this.produce({ ...topic, data, ...more, ack: 1 });
    if (message !== "Ok") throw new Error(message);
    return subscribers;
  }
}

/** A token that expires in `seconds` seconds. */
export function tokenFor(seconds = 7200, user = USER) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const payload = { iss: "dev.airlay.ru", exp: Date.now() / 1000 + seconds, data: { id: user } };
  const signed = `${part({ alg: "RS256", typ: "JWT" })}.${part(payload)}`;
  return `${signed}.${crypto.sign("sha256", Buffer.from(signed), KEY).toString("base64url")}`;
}

/** The id of the object or user with this number. */
export function idOf(number) {
  return number.toString(16).padStart(24, "0");
}

/**
 * A port that stays free while the server is down. The system's ephemeral ports do not: a client that keeps trying to
 * connect to one may even connect to itself.
 */
async function freePort() {
  const [lowest] = fs.readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/);
  for (;;) {
    const port = crypto.randomInt(10_000, Number(lowest));
    const server = net.createServer().listen(port, "127.0.0.1");
    const isFree = await Promise.race([
      once(server, "listening").then(() => true),
      new Promise((resolve) => server.once("error", () => resolve(false))),
    ]);
    server.close();
    if (isFree) return port;
  }
}
