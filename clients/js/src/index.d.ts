/** A step of the deployment. */
export interface StageEvent {
  type: "stage";
  /** The event's own id: the same on every connection and every server. */
  id: string;
  /** For people, in the language that was asked for. */
  message: string;
  /** Facts of the step; `stage` is its number. */
  details: { stage?: number; [name: string]: unknown };
}

/** Ready for the switch, or completed: `result` of {@link End} tells which. */
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
 * - `connecting`: a connection is being made, or made again.
 * - `open`: events come as they happen.
 * - `away`: the server does not answer; it is tried again, less and less often.
 * - `waiting`: everything was told, and the deployment waits for a person's switch. Call {@link Following.resume} after it.
 * - `ended`: nothing more comes; {@link Following.done} tells why.
 */
export type ConnectionState = "connecting" | "open" | "away" | "waiting" | "ended";

/** Something happened to the connection, and not to the deployment. */
export interface ConnectionEvent {
  type: "connection";
  state: ConnectionState;
  /** What was in the way, when it is known. */
  error?: unknown;
}

/** The answer of `GET /api/v1/deploy/{id}/result`, of which the members that front ends need most are named. */
export interface DeploymentResult {
  deploymentId: string;
  status: "RUNNING" | "DEPLOYMENT_READY" | "COMPLETED" | "FAILED";
  blueUrl: string | null;
  greenUrl: string | null;
  errorCode: string | null;
  errorMessage: string | null;
  [name: string]: unknown;
}

/** Why following ended. */
export type End =
  /** COMPLETED or FAILED, and every event was told. */
  | { reason: "finished"; result: DeploymentResult; error?: undefined }
  /** DEPLOYMENT_READY, and every event was told; only with `stopWhenReady`. */
  | { reason: "ready"; result: DeploymentResult; error?: undefined }
  /** `close()` was called, or the signal aborted. */
  | { reason: "closed"; error?: undefined }
  /** The server will not answer otherwise: 404 for an unknown deployment, 401, 403. */
  | { reason: "refused"; status: number; errorCode?: string; error: Error }
  /** What came is no event of Panda's. */
  | { reason: "broken"; error: Error };

/** The part of `EventSource` that is used: the browser's own, or that of the npm package `eventsource`. */
export interface EventSourceLike {
  readonly readyState: number;
  // Method syntax on purpose: implementations narrow the listener's event.
  addEventListener(type: string, listener: (event: any) => void): void;
  close(): void;
}

export interface ConnectOptions {
  /** Address of Panda, such as `https://panda.example.com`; the page's own origin when absent. */
  server?: string | URL;
  /** Language of the messages; the server's setting when absent (Korean, unless it was changed). */
  language?: "ko" | "en";
  /** Go on after this event; the whole history when absent. */
  lastEventId?: string;
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /**
   * Gets a ticket for the deployment, where the page has neither a session's cookie nor needs none: typically by asking its own back end, which
   * has a token, to `POST /api/v1/deploy/{id}/ticket`. It is called before each request, since a ticket is good once; while it throws, the state is
   * `away`.
   */
  ticket?: (deploymentId: string) => string | Promise<string>;
  /** End when the deployment is ready for the switch, instead of waiting for what comes after it. */
  stopWhenReady?: boolean;
  /** Milliseconds between two looks at a deployment that waits for its switch; 10,000 when absent. */
  waitingMs?: number;
  /** Milliseconds without an event or a new connection after which a connection counts as dead and is made anew; 900,000 when absent. */
  silenceMs?: number;
  /** First and longest pause between two tries when the server is away; 500 and 30,000 ms when absent. */
  backoff?: { minMs?: number; maxMs?: number };
  /** Ends following when it aborts. */
  signal?: AbortSignal;
  /** `globalThis.EventSource` when absent. */
  EventSource?: new (url: string, init?: { withCredentials?: boolean }) => EventSourceLike;
  /** `globalThis.fetch` when absent. */
  fetch?: typeof fetch;
  /** Told of changes of the connection. */
  onConnection?: (event: ConnectionEvent) => void;
}

export interface FollowOptions extends ConnectOptions {
  onStage?: (event: StageEvent) => void;
  onSuccess?: (event: SuccessEvent) => void;
  onFail?: (event: FailEvent) => void;
}

/** A deployment that is being followed. */
export interface Following {
  /** Resolves when following ended; never rejects. */
  readonly done: Promise<End>;
  readonly state: ConnectionState;
  /** Id of the last event that was told; empty before the first. */
  readonly lastEventId: string;
  /** Ends following. */
  close(): void;
  /** Looks again at once, instead of after a pause: call it after `POST …/switch`. */
  resume(): void;
}

/**
 * Follows a deployment until it is COMPLETED or FAILED: each event is told once and in order, whatever restarts in between.
 *
 * @throws TypeError when an option cannot be used; it names the option.
 */
export function follow(deploymentId: string, options?: FollowOptions): Following;

/**
 * The same as an asynchronous iteration, which ends with following; leaving the loop closes the connection.
 *
 * @throws FollowError when the server refuses, or what comes is no event of Panda's.
 */
export function events(deploymentId: string, options?: ConnectOptions): AsyncGenerator<DeploymentEvent, void, undefined>;

/** Why an iteration could not go on. */
export class FollowError extends Error {
  readonly reason: "refused" | "broken";
  /** Status of HTTP, when the server refused. */
  readonly status?: number;
  /** Panda's code of the problem. */
  readonly errorCode?: string;
}
