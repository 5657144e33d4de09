// What the examples of docs/front-end.md find on a page, for `node --import page.js EXAMPLE`. Every function of the page
// prints its name and what it was given, one JSON array a line. It ends with its standard input.
import WebSocket from "ws";

const told = (name) => (...given) => console.log(JSON.stringify([name, ...given]));

globalThis.WebSocket = WebSocket;
globalThis.token = process.env.TOKEN;
globalThis.fetch = async (path) => {
  told("fetch")(path);
  return path === "/token" ? new Response(globalThis.token) : Response.json({ from: path });
};
for (const name of ["show", "refuse", "notify", "loadNotifications", "showOffline", "ended", "replied", "lost"]) {
  globalThis[name] = told(name);
}
globalThis.report = ({ code, message }) => told("report")(code, message);
process.stdin.resume().on("end", () => process.exit());
