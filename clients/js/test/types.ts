// The types, as a page in TypeScript uses them. Compiled by package.test.js, never run.
import { AirlayEvents, type AirlayError, type AirlayEvent, type Status } from "@airlay/events";

const events = new AirlayEvents("wss://airlay.example/ws", { token: async () => "…" });
new AirlayEvents(new URL("wss://airlay.example/ws"), { token: () => "…", WebSocket });

const unsubscribe: () => void = events.subscribe({ type: "issueUpdate", id: "610217e481f6fc54736209e0" }, (event) => {
  const known: AirlayEvent = event;
  console.log(known.type, known.id.length, known.data);
});
events.subscribe<{ text: string }[]>({ type: "notification" }, ({ data }) => data[0]?.text.trim(), {
  onAttached: (missed) => missed satisfies boolean,
  onError: (error) => error satisfies AirlayError,
});
events.subscribe({ type: "uploadFile", id: null }, () => {}, {});

events.addEventListener("status", ({ detail }) => detail.delay?.toFixed());
events.addEventListener("attached", ({ detail: { topic, missed } }) => [topic.id.trim(), missed satisfies boolean]);
events.addEventListener("error", ({ detail }) => detail.code?.toFixed() ?? detail.message);
events.addEventListener("anything", (event) => event.type);

const status: Status = events.status;
console.log(status);
unsubscribe();
events.close();

// @ts-expect-error: unknown type
events.subscribe({ type: "issueUpdated", id: "610217e481f6fc54736209e0" }, () => {});
// @ts-expect-error: the handler is missing
events.subscribe({ type: "notification" });
// @ts-expect-error: the token function is missing
new AirlayEvents("wss://airlay.example/ws");
// @ts-expect-error: it must return text
new AirlayEvents("wss://airlay.example/ws", { token: () => 5 });
// @ts-expect-error: the status is read-only
events.status = "open";
