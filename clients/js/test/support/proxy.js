// A proxy to the server that can be made slow, or to swallow everything silently.

import net from "node:net";
import { once } from "node:events";

export class Proxy {
  /** Bytes passed on every hundredth of a second; 0: none. */
  bytesAtOnce = Infinity;
  connections = 0;
  #pairs = new Set();

  static async start(port) {
    const proxy = new Proxy();
    proxy.server = net.createServer((client) => proxy.#join(client, net.connect(port, "127.0.0.1")));
    await once(proxy.server.listen(0, "127.0.0.1"), "listening");
    proxy.url = `ws://127.0.0.1:${proxy.server.address().port}/ws`;
    return proxy;
  }

  #join(client, server) {
    this.connections += 1;
    const pair = [client, server];
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    };
    for (const socket of pair) socket.on("error", end).on("close", end);
    this.#pass(client, server);
    this.#pass(server, client);
  }

  #pass(from, to) {
    let held = Buffer.alloc(0);
    let timer;
    const pass = () => {
      const count = Math.min(held.length, this.bytesAtOnce);
      if (count) to.write(held.subarray(0, count));
      held = held.subarray(count);
      timer = held.length ? setTimeout(pass, 10) : undefined;
    };
    from.on("data", (data) => {
      held = Buffer.concat([held, data]);
      if (!timer) pass();
    });
    from.on("close", () => clearTimeout(timer));
  }

  close() {
    this.server.close();
    for (const [client] of this.#pairs) client.destroy();
  }
}
