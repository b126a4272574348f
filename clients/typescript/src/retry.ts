import { isTemporary, PandaError } from "./error.js";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/** Waits while a server is unreachable; `limitMs` counts from the first failure after a success. */
export class Patience {
  readonly #limitMs: number;
  readonly #signal: AbortSignal | undefined;
  #failures = 0;
  #since = 0;

  constructor(limitMs: number, signal: AbortSignal | undefined) {
    this.#limitMs = limitMs;
    this.#signal = signal;
  }

  /** Records an answer of the server. */
  answered(): void {
    this.#failures = 0;
  }

  /** Waits before the next try; throws `error` when it is final or the limit is over. */
  async failed(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted();
    if (!isTemporary(error)) throw error;
    if (this.#failures === 0) this.#since = Date.now();
    const pauseMs = jitter(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#failures++, 20)));
    const wanted = error instanceof PandaError ? Math.max(pauseMs, error.retryAfterMs) : pauseMs;
    if (Date.now() - this.#since + wanted > this.#limitMs) throw error;
    await pause(wanted, this.#signal);
  }
}

/** Repeats `act` while the server is unreachable. */
export async function persist<T>(act: () => Promise<T>, patience: Patience): Promise<T> {
  for (;;) {
    try {
      const answer = await act();
      patience.answered();
      return answer;
    } catch (error) {
      await patience.failed(error);
    }
  }
}

/** A random factor of 0.5 to 1, so that clients of one server do not return together. */
export function jitter(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

/** A pause that an aborted signal ends with its reason. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Calls `act` with a signal that aborts with the caller's, and after `ms`. */
export async function limited<T>(ms: number, signal: AbortSignal | undefined, act: (within: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => controller.abort(signal?.reason);
  const timer = setTimeout(() => controller.abort(new DOMException(`no answer for ${ms} ms`, "TimeoutError")), ms);
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  try {
    return await act(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}
