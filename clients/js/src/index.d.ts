/** Progress of a step of the deployment. */
export interface StageEvent {
  type: "stage";
  /** Unique id of the event: the same on every connection and every server. */
  id: string;
  /** Text for users, in the requested language. */
  message: string;
  /** Facts of the step; `stage` is its number. */
  details: { stage?: number; [name: string]: unknown };
}

/** Ready for the switch, or completed: `result` of {@link End} distinguishes them. */
export interface SuccessEvent {
  type: "success";
  id: string;
  message: string;
}

/** The attempt failed. */
export interface FailEvent {
  type: "fail";
  id: string;
  message: string;
}

/** Any event of a deployment. */
export type DeploymentEvent = StageEvent | SuccessEvent | FailEvent;

/**
 * - `connecting`: opening a connection, for the first time or again.
 * - `open`: events arrive live.
 * - `away`: the server does not respond; retries follow with growing pauses.
 * - `waiting`: every event was delivered, and the deployment awaits its switch. Call {@link Following.resume} after it.
 * - `ended`: no more events; {@link Following.done} has the reason.
 */
export type ConnectionState = "connecting" | "open" | "away" | "waiting" | "ended";

/** A change of the connection, not of the deployment. */
export interface ConnectionEvent {
  type: "connection";
  state: ConnectionState;
  /** The cause, when it is known. */
  error?: unknown;
}

/** The response of `GET /api/v1/deploy/{id}/result`; the fields that front ends need most are typed. */
export interface DeploymentResult {
  deploymentId: string;
  status: "RUNNING" | "DEPLOYMENT_READY" | "COMPLETED" | "FAILED";
  blueUrl: string | null;
  greenUrl: string | null;
  errorCode: string | null;
  errorMessage: string | null;
  [name: string]: unknown;
}

/** The reason for the end. */
export type End =
  /** COMPLETED or FAILED, and every event was delivered. */
  | { reason: "finished"; result: DeploymentResult; error?: undefined }
  /** DEPLOYMENT_READY, and every event was delivered; only with `stopWhenReady`. */
  | { reason: "ready"; result: DeploymentResult; error?: undefined }
  /** `close()` was called, or the signal aborted. */
  | { reason: "closed"; error?: undefined }
  /** A response that will not change: 404 for an unknown deployment, 401, 403. */
  | { reason: "refused"; status: number; errorCode?: string; error: Error }
  /** The response is not an event of Panda. */
  | { reason: "broken"; error: Error };

/** The members of `EventSource` that this module uses: the browser's, or those of the npm package `eventsource`. */
export interface EventSourceLike {
  readonly readyState: number;
  // Method syntax on purpose: implementations narrow the listener's event.
  addEventListener(type: string, listener: (event: any) => void): void;
  close(): void;
}

export interface ConnectOptions {
  /** Address of Panda, such as `https://panda.example.com`; the page's origin when absent. */
  server?: string | URL;
  /** Language of the messages; the server's setting when absent (Korean by default). */
  language?: "ko" | "en";
  /** Resume after this event; the whole history when absent. */
  lastEventId?: string;
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /**
   * Returns a ticket for the deployment, for pages without a session's cookie: typically from the page's back end, which
   * has a token and sends `POST /api/v1/deploy/{id}/ticket`. Called before each request, because a ticket is valid once; while it throws, the state is
   * `away`.
   */
  ticket?: (deploymentId: string) => string | Promise<string>;
  /** End when the deployment is ready for the switch, instead of waiting for the switch. */
  stopWhenReady?: boolean;
  /** Interval of polls of a deployment that awaits its switch (ms); 10,000 when absent. */
  waitingMs?: number;
  /** Time without an event or a new connection after which a connection is replaced (ms); 900,000 when absent. */
  silenceMs?: number;
  /** First and longest pause between two tries while the server is unreachable; 500 and 30,000 ms when absent. */
  backoff?: { minMs?: number; maxMs?: number };
  /** Ends following when it aborts. */
  signal?: AbortSignal;
  /** `globalThis.EventSource` when absent. */
  EventSource?: new (url: string, init?: { withCredentials?: boolean }) => EventSourceLike;
  /** `globalThis.fetch` when absent. */
  fetch?: typeof fetch;
  /** Called at changes of the connection. */
  onConnection?: (event: ConnectionEvent) => void;
}

export interface FollowOptions extends ConnectOptions {
  onStage?: (event: StageEvent) => void;
  onSuccess?: (event: SuccessEvent) => void;
  onFail?: (event: FailEvent) => void;
}

/** Handle of a followed deployment. */
export interface Following {
  /** Resolves when following ended; never rejects. */
  readonly done: Promise<End>;
  readonly state: ConnectionState;
  /** Id of the last delivered event; empty before the first. */
  readonly lastEventId: string;
  /** Ends following. */
  close(): void;
  /** Polls immediately instead of after a pause: call it after `POST …/switch`. */
  resume(): void;
}

/**
 * Follows a deployment until it is COMPLETED or FAILED: each event is delivered once and in order, through restarts in between.
 *
 * @throws TypeError that names an invalid option.
 */
export function follow(deploymentId: string, options?: FollowOptions): Following;

/**
 * Follows a deployment as an asynchronous iteration; leaving the loop closes the connection.
 *
 * @throws FollowError when the server refuses, or the response is not an event of Panda.
 */
export function events(deploymentId: string, options?: ConnectOptions): AsyncGenerator<DeploymentEvent, void, undefined>;

/** The reason for the end of an iteration. */
export class FollowError extends Error {
  readonly reason: "refused" | "broken";
  /** HTTP status, when the server refused. */
  readonly status?: number;
  /** Panda's error code. */
  readonly errorCode?: string;
}
