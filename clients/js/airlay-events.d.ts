/** What an event is about; without an id: every notification of the token's user. */
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
  /** What the producer wrote; `[]` if it wrote nothing. */
  data: Data;
}

/** What the server refused, or why no token was to be had. What the function `token` throws comes as it is thrown. */
export interface AirlayError extends Error {
  /** The server's code: 1 and 2 about the token, 3 to 6 about a subscription, which has ended. */
  code?: number;
  /** The subscription that has ended; absent if it is about the token. */
  topic?: { type: EventType; id: string };
}

/** `waiting`: for the next try. `closed`: by `close()`. */
export type Status = "connecting" | "open" | "waiting" | "closed";

export interface StatusDetail {
  status: Status;
  /** With `waiting`: the close code of the connection before (RFC 6455 §7.4). */
  code?: number;
  /** With `waiting`: the reason that was given for closing it. */
  reason?: string;
  /** With `waiting`: milliseconds until the next try. */
  delay?: number;
}

export interface AttachedDetail {
  topic: { type: EventType; id: string };
  /** There was a gap, in which events may have been missed: fetch again what they would have told. */
  missed: boolean;
}

export interface AirlayEventMap {
  status: CustomEvent<StatusDetail>;
  attached: CustomEvent<AttachedDetail>;
  error: CustomEvent<AirlayError>;
}

export interface Options {
  /**
   * Gives an access token that is still good for a while. Asked before the first subscription, before a token ends, and
   * when the server has refused one. If it throws, it is asked again after a pause.
   */
  token: () => string | Promise<string>;
  /** The class to connect with, where it is not the global one. */
  WebSocket?: new (url: any) => any;
}

export interface Callbacks {
  /**
   * Called when events begin to come; with `true` after a gap, in which events may have been missed: fetch again what
   * they would have told.
   */
  onAttached?: (missed: boolean) => void;
  /** Called when the server refuses the subscription or takes it back (codes 3 to 6): it is over then. */
  onError?: (error: AirlayError) => void;
}

/** A connection to the service, opened at once and kept until `close()`. */
export class AirlayEvents extends EventTarget {
  /** @param url the endpoint, `wss://…/ws` */
  constructor(url: string | URL, options: Options);

  readonly status: Status;

  /**
   * Calls `handler` with every event of a topic, from when the server has taken the subscription until the function that
   * is returned is called. Any number of handlers of a topic cost the server one subscription.
   *
   * @returns unsubscribes
   * @throws if the connection was closed by `close()`
   */
  subscribe<Data = any>(topic: Topic, handler: (event: AirlayEvent<Data>) => void, callbacks?: Callbacks): () => void;

  /** Ends the connection and all subscriptions, for good. */
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
