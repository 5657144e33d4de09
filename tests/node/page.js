// The globals that the examples of docs/front-end.md expect on a page, for `node --import page.js EXAMPLE`. Each function
// prints its name and arguments as one JSON array per line. The process exits at the end of standard input.
import WebSocket from "ws";

const record = (name) => (...args) => console.log(JSON.stringify([name, ...args]));

globalThis.WebSocket = WebSocket;
globalThis.token = process.env.TOKEN;
globalThis.fetch = async (path) => {
  record("fetch")(path);
  return path === "/token" ? new Response(globalThis.token) : Response.json({ from: path });
};
for (const name of ["show", "refuse", "notify", "loadNotifications", "showOffline", "ended", "replied", "lost"]) {
  globalThis[name] = record(name);
}
globalThis.report = ({ code, message }) => record("report")(code, message);
process.stdin.resume().on("end", () => process.exit());
