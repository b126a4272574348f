import { jitter, Patience, pause, persist } from "./retry.js";
import { messages } from "./sse.js";
import type { Result } from "./panda.js";

/** An event of a deployment (docs/streaming.md). */
export interface DeploymentEvent {
  type: "stage" | "success" | "fail";
  /** Unique id: the same on every connection and every server. */
  id: string;
  /** Text for users, in the requested language. */
  message: string;
  /** Facts of a `stage` event. */
  details: { stage?: number; [name: string]: unknown };
}

export interface FollowOptions {
  /** Language of the messages; the server's setting when absent (Korean by default). */
  language?: "ko" | "en";
  /** Resume after this event; the whole history when absent. */
  lastEventId?: string;
  /**
   * The state to follow to: `ready` (default) ends when the deployment awaits its switch, or is over; `finished` only when it is over.
   */
  until?: "ready" | "finished";
  /** Time for which an unreachable server is tried again (ms); 120,000 when absent. */
  giveUpAfterMs?: number;
  /** Time without any byte after which a connection is replaced (ms); 60,000 when absent: Panda sends something every 15 s. */
  silenceMs?: number;
  /** Interval of polls of a deployment that awaits its switch (ms), with `until: "finished"`; 5,000 when absent. */
  waitingMs?: number;
  signal?: AbortSignal;
}

/** The two requests that following a deployment needs. */
export interface Source {
  result(signal: AbortSignal | undefined): Promise<Result>;
  open(query: { lang?: string; lastEventId?: string }, signal: AbortSignal): Promise<Response>;
}

/**
 * Yields each event once and in order, through restarts of the server, and returns the result.
 *
 * The order of the requests makes the end exact: first the result, then the stream. A status and its events are stored together, so if the stream has nothing
 * after the last event (204), every event up to that status was delivered.
 */
export async function* follow(source: Source, options: FollowOptions): AsyncGenerator<DeploymentEvent, Result> {
  const { signal, until = "ready", silenceMs = 60_000, waitingMs = 5_000 } = options;
  const patience = new Patience(options.giveUpAfterMs ?? 120_000, signal);
  let lastEventId = options.lastEventId ?? "";
  for (;;) {
    const result = await persist(() => source.result(signal), patience);
    const connection = new Connection(silenceMs, signal);
    try {
      const query = { ...(options.language && { lang: options.language }), ...(lastEventId && { lastEventId }) };
      const response = await source.open(query, connection.signal);
      if (response.status === 204) {
        if (isOver(result) || (result.status === "DEPLOYMENT_READY" && until === "ready")) return result;
        // It awaits its switch, or its status changed between the two requests.
        await pause(result.status === "DEPLOYMENT_READY" ? jitter(waitingMs) : 100, signal);
        continue;
      }
      for await (const event of read(response, connection)) {
        patience.answered();
        lastEventId = event.id;
        yield event;
        // The server keeps the stream open for some more seconds, which callers need not wait.
        if (event.type !== "stage") break;
      }
    } catch (error) {
      await patience.failed(connection.timedOut ?? error);
    } finally {
      connection.end();
    }
  }
}

/** True for a deployment that only a retry changes. */
export function isOver(result: Result): boolean {
  return result.status === "COMPLETED" || result.status === "FAILED";
}

async function* read(response: Response, connection: Connection): AsyncGenerator<DeploymentEvent, void> {
  const type = response.headers.get("content-type") ?? "";
  // A proxy's page with status 200 while Panda restarts.
  if (!response.body || !type.startsWith("text/event-stream")) throw new TypeError(`the response is not an event stream but ${type || "untyped"}`);
  for await (const { id, event, data } of messages(response.body, () => connection.alive())) {
    if (event !== "stage" && event !== "success" && event !== "fail") continue;
    const { message, details } = JSON.parse(data) as Partial<DeploymentEvent>;
    yield { type: event, id, message: message ?? "", details: details ?? {} };
  }
}

/** Aborts a connection from which nothing arrives, and when the caller's signal aborts. */
class Connection {
  readonly #controller = new AbortController();
  readonly #silenceMs: number;
  readonly #outer: AbortSignal | undefined;
  readonly #stop = (): void => this.#controller.abort(this.#outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The reason, when it was silence. */
  timedOut: DOMException | undefined;

  constructor(silenceMs: number, outer: AbortSignal | undefined) {
    this.#silenceMs = silenceMs;
    this.#outer = outer;
    outer?.addEventListener("abort", this.#stop);
    if (outer?.aborted) this.#stop();
    this.alive();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  alive(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.timedOut = new DOMException(`nothing arrived for ${this.#silenceMs} ms`, "TimeoutError");
      this.#controller.abort(this.timedOut);
    }, this.#silenceMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#stop);
    this.#controller.abort();
  }
}
