import { settings } from "./options.js";
import { ask } from "./verdict.js";
import { pause } from "./pause.js";

/** The names of events that Panda sends. */
const EVENTS = ["stage", "success", "fail"];

const CLOSED = 2;

/** @type {typeof import("./index.d.ts").follow} */
export function follow(deploymentId, options = {}) {
  return new Follow(settings(deploymentId, options)).handle;
}

/** Follows one deployment from the first connection to the end, with at most one EventSource at a time. */
class Follow {
  #set;
  #source;
  #deadline;
  #lastEventId;
  #state = "connecting";
  /** Consecutive tries without an answer of the server. */
  #unanswered = 0;
  /** Consecutive connections without an event. */
  #unused = 0;
  /** Aborted at the end; aborts pending requests and pauses. */
  #over = new AbortController();
  /** Ends the current pause early. */
  #wake = () => {};
  #end;

  constructor(set) {
    this.#set = set;
    this.#lastEventId = set.lastEventId;
    const done = new Promise((resolve) => { this.#end = resolve; });
    const self = this;
    this.handle = {
      done,
      close: () => self.#finish({ reason: "closed" }),
      resume: () => self.#wake(),
      get state() { return self.#state; },
      get lastEventId() { return self.#lastEventId; },
    };
    if (set.signal?.aborted) {
      this.handle.close();
      return;
    }
    set.signal?.addEventListener("abort", this.handle.close, { signal: this.#over.signal });
    // Deferred, so that the caller has the handle before the first callback.
    queueMicrotask(() => this.#connect());
  }

  get #isOver() {
    return this.#over.signal.aborted;
  }

  async #connect() {
    if (this.#isOver) return;
    this.#become("connecting");
    const { EventSource, withCredentials } = this.#set;
    let ticket;
    try {
      if (this.#set.getTicket) ticket = await this.#set.getTicket();
    } catch (error) {
      // Without a ticket, behave as with an unreachable server.
      await this.#rest("away", this.#backoff(this.#unanswered++), error);
      this.#decide();
      return;
    }
    if (this.#isOver) return;
    const source = new EventSource(this.#set.eventsUrl(this.#lastEventId, ticket), { withCredentials });
    this.#source = source;
    // A closed source may still have queued events. The next source delivers them again, so ignore them here.
    const current = (act) => (event) => { if (this.#source === source) act(event); };
    source.addEventListener("open", current(() => this.#opened()));
    source.addEventListener("error", current(() => this.#broke(source)));
    for (const type of EVENTS) source.addEventListener(type, current((event) => this.#take(type, event)));
    this.#alive();
  }

  #opened() {
    this.#alive();
    this.#become("open");
  }

  #take(type, event) {
    this.#alive();
    this.#unanswered = 0;
    this.#unused = 0;
    let data;
    try {
      data = JSON.parse(event.data);
    } catch (cause) {
      this.#finish({ reason: "broken", error: new Error(`a ${type} event is not JSON: is this a Panda?`, { cause }) });
      return;
    }
    // Before the handler: even if it throws, this event was delivered.
    this.#lastEventId = event.lastEventId;
    const delivered = { type, id: event.lastEventId, message: data.message };
    if (type === "stage") delivered.details = data.details ?? {};
    this.#emit(delivered);
    // The server keeps the stream open for some more seconds, which callers need not wait.
    if (type !== "stage") this.#settle();
  }

  /** Ends following when this was the last event that can come. */
  async #settle() {
    const last = this.#lastEventId;
    const verdict = await ask(this.#set, last, this.#over.signal);
    const isEnd = verdict.is === "finished" || (verdict.is === "ready" && this.#set.stopWhenReady);
    if (isEnd && this.#lastEventId === last) this.#finish(verdict.end);
  }

  /** Calls a handler. An exception is reported like that of any listener, and stops nothing. */
  #emit(event) {
    try {
      this.#set.on[event.type]?.(event);
    } catch (error) {
      if (typeof globalThis.reportError === "function") globalThis.reportError(error);
      else queueMicrotask(() => { throw error; });
    }
  }

  #broke(source) {
    if (source.readyState !== CLOSED && !this.#set.getTicket) {
      // The EventSource reconnects, with the id of the last event. With a ticket it would reuse a spent one.
      this.#alive();
      this.#become("connecting");
      return;
    }
    this.#drop();
    // EventSource does not report why it stopped: 204, an error of a proxy and an unreachable server look the same. So ask the server.
    this.#decide();
  }

  async #decide() {
    while (!this.#isOver) {
      const verdict = await ask(this.#set, this.#lastEventId, this.#over.signal);
      if (this.#isOver) return;
      switch (verdict.is) {
        case "finished":
        case "refused":
          this.#finish(verdict.end);
          return;
        case "more":
          // The server is back: what was waited for an answer no longer counts. Connections that open and break immediately do: reconnecting
          // immediately would cause a storm.
          this.#unanswered = 0;
          await this.#rest("connecting", this.#backoff(this.#unused++));
          this.#connect();
          return;
        case "ready":
          if (this.#set.stopWhenReady) {
            this.#finish(verdict.end);
            return;
          }
          this.#unanswered = 0;
          this.#unused = 0;
          await this.#rest("waiting", this.#jitter(this.#set.waitingMs));
          break;
        default:
          await this.#rest("away", Math.max(this.#backoff(this.#unanswered++), verdict.retryAfterMs), verdict.error);
      }
    }
  }

  /** Doubles with each earlier failure, times a random factor of 0.5 to 1, so that clients of one server do not reconnect together. */
  #backoff(earlier) {
    const { minMs, maxMs } = this.#set.backoff;
    return this.#jitter(Math.min(maxMs, minMs * 2 ** Math.min(earlier, 30)));
  }

  #jitter(ms) {
    return ms * (0.5 + Math.random() / 2);
  }

  async #rest(state, ms, error) {
    this.#become(state, error);
    const { done, wake } = pause(ms, this.#over.signal);
    this.#wake = wake;
    // A browser that is online again need not wait longer.
    globalThis.addEventListener?.("online", wake);
    await done;
    globalThis.removeEventListener?.("online", wake);
    this.#wake = () => {};
  }

  /**
   * Postpones the time at which the connection counts as dead. An EventSource may hang for ever on a connection that a sleeping laptop or a
   * router lost; it does not report the server's keep-alives, which would reveal that sooner.
   */
  #alive() {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      this.#drop();
      this.#connect();
    }, this.#set.silenceMs);
    // In Node the connection may keep the process alive, but this timer must not.
    this.#deadline?.unref?.();
  }

  #drop() {
    clearTimeout(this.#deadline);
    this.#source?.close();
    this.#source = undefined;
  }

  #become(state, error) {
    const changed = this.#state !== state || error !== undefined;
    this.#state = state;
    if (changed) this.#emit(error === undefined ? { type: "connection", state } : { type: "connection", state, error });
  }

  #finish(end) {
    if (this.#isOver) return;
    this.#over.abort();
    this.#drop();
    this.#become("ended");
    this.#end(end);
  }
}
