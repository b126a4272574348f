import { setTimeout as sleep } from "node:timers/promises";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/** True for an unreachable or overloaded server. */
function isTemporary(error) {
  return error.isTemporary ?? (error instanceof TypeError || error.name === "TimeoutError");
}

/** Waits while a server is unreachable, for at most `limitMs` after the first failure. */
export class Patience {
  #failures = 0;
  #since = 0;

  constructor(limitMs, signal) {
    this.limitMs = limitMs;
    this.signal = signal;
  }

  answered() {
    this.#failures = 0;
  }

  /** Waits before the next try; throws `error` when it is final or the limit is over. */
  async failed(error) {
    this.signal?.throwIfAborted();
    if (!isTemporary(error)) throw error;
    if (this.#failures === 0) this.#since = Date.now();
    const doubled = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#failures++, 20));
    const wanted = Math.max(doubled * (0.5 + Math.random() / 2), error.retryAfterMs ?? 0);
    if (Date.now() - this.#since + wanted > this.limitMs) throw error;
    await pause(wanted, this.signal);
  }
}

/** Repeats `act` while the server is unreachable. */
export async function persist(act, limitMs, signal) {
  const patience = new Patience(limitMs, signal);
  for (;;) {
    try {
      return await act();
    } catch (error) {
      await patience.failed(error);
    }
  }
}

/** A pause that an aborted signal ends with its reason. */
export async function pause(ms, signal) {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/** Calls `act` with a signal that aborts with the caller's, and after `ms`. */
export async function limited(ms, signal, act) {
  const controller = new AbortController();
  const stop = () => controller.abort(signal.reason);
  const timer = setTimeout(() => controller.abort(new DOMException(`no answer for ${ms} ms`, "TimeoutError")), ms);
  signal?.addEventListener("abort", stop);
  try {
    signal?.throwIfAborted();
    return await act(controller.signal, () => timer.refresh());
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    controller.abort();
  }
}
