// The `ws` library as a subscriber: `node subscribe.js URL REQUEST SECONDS`. Prints the negotiated extensions and then each
// message, one per line, until the end of standard input, or for that many seconds at most.
import WebSocket from "ws";

const [url, request, seconds] = process.argv.slice(2);
setTimeout(() => process.exit(1), seconds * 1000).unref();
// Every request is compressed, however short.
const socket = new WebSocket(url, { perMessageDeflate: { threshold: 0 } });
socket.on("open", () => {
  console.log(socket.extensions);
  socket.send(request);
});
socket.on("message", (data) => console.log(data.toString()));
process.stdin.resume().on("end", () => socket.close());
