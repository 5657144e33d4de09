/** What to subscribe to; without an id: every notification of the token's user. */
export interface Topic {
  type: EventType;
  /** The id of an object: 24 hex digits. */
  id?: string | null;
}

export type EventType = "issueUpdate" | "notification" | "datasetUpdate" | "uploadFile" | "downloadFile";

/** An event as the server delivers it. */
export interface AirlayEvent<Data = any> {
  type: EventType;
  /** In lower case; empty if the event has none. */
  id: string;
  /** What the producer wrote; `[]` if it gave no data. */
  data: Data;
}

/** A refusal of the server, or a token that could not be obtained. An exception of `token()` is passed on unchanged. */
export interface AirlayError extends Error {
  /** The server's code: 1 and 2 concern the token, 3 to 6 a subscription, which has ended. */
  code?: number;
  /** The subscription that has ended; absent if the error concerns the token. */
  topic?: { type: EventType; id: string };
}

/** `waiting`: to reconnect. `closed`: by `close()`. */
export type Status = "connecting" | "open" | "waiting" | "closed";

export interface StatusDetail {
  status: Status;
  /** With `waiting`: the close code of the previous connection (RFC 6455 §7.4). */
  code?: number;
  /** With `waiting`: the reason given for closing it. */
  reason?: string;
  /** With `waiting`: milliseconds until the next attempt. */
  delay?: number;
}

export interface AttachedDetail {
  topic: { type: EventType; id: string };
  /** There was a gap in which events may have been missed: fetch the current state again. */
  missed: boolean;
}

export interface AirlayEventMap {
  status: CustomEvent<StatusDetail>;
  attached: CustomEvent<AttachedDetail>;
  error: CustomEvent<AirlayError>;
}

export interface Options {
  /**
   * Returns an access token with some time left. Called before the first subscription, before a token expires and when
   * the server has refused one. If it throws, it is called again after a pause.
   */
  token: () => string | Promise<string>;
  /** The class to connect with, if not the global one. */
  WebSocket?: new (url: any) => any;
}

export interface Callbacks {
  /**
   * Called when events start to arrive; with `true` after a gap in which events may have been missed: fetch the current
   * state again.
   */
  onAttached?: (missed: boolean) => void;
  /** Called when the server refuses or revokes the subscription (codes 3 to 6), which ends it. */
  onError?: (error: AirlayError) => void;
}

/** A connection to the service, opened immediately and kept open until `close()`. */
export class AirlayEvents extends EventTarget {
  /** @param url the endpoint, `wss://…/ws` */
  constructor(url: string | URL, options: Options);

  readonly status: Status;

  /**
   * Calls `handler` with every event of a topic, from the moment the server accepts the subscription until the returned
   * function is called. All handlers of a topic share one subscription.
   *
   * @returns unsubscribes
   * @throws if the connection was closed by `close()`
   */
  subscribe<Data = any>(topic: Topic, handler: (event: AirlayEvent<Data>) => void, callbacks?: Callbacks): () => void;

  /** Closes the connection and ends all subscriptions, permanently. */
  close(): void;

  addEventListener<Type extends keyof AirlayEventMap>(
    type: Type,
    listener: (event: AirlayEventMap[Type]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;

  removeEventListener<Type extends keyof AirlayEventMap>(
    type: Type,
    listener: (event: AirlayEventMap[Type]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}
