/** Panda's API, as far as the action needs it. */

import { readJson, ServerError } from "./http.js";
import { limited, Patience, pause, persist } from "./retry.js";
import { messages } from "./sse.js";

/** Time limit of a request, beside event streams (ms). */
const REQUEST_MS = 30_000;
/** Time without any byte after which a connection is replaced (ms); Panda sends something every 15 s. */
const SILENCE_MS = 60_000;

export class Panda {
  constructor({ server, language, unreachableMs }, token) {
    this.server = server;
    this.language = language;
    this.unreachableMs = unreachableMs;
    this.token = token;
  }

  /** The address of a deployment's page. */
  page(id) {
    return `${this.server}/deployments/${id}`;
  }

  /**
   * The data of a call; repeated while the server is unreachable, so changes need a `key` or must be harmless to repeat. A call that is `whole` is not aborted
   * while its response is outstanding, only between two tries.
   */
  async call(method, path, { body, key, signal, whole = false, limitMs = this.unreachableMs } = {}) {
    const send = async (within) => {
      const headers = { accept: "application/json", ...(key && { "idempotency-key": key }) };
      const response = await this.#fetch(method, path, headers, body, within);
      const answer = await readJson(response);
      if (!response.ok) throw new ServerError(response, answer);
      // A proxy's page while Panda restarts.
      if (answer?.data === undefined) throw new TypeError("the response is not one of Panda");
      return answer.data;
    };
    return persist(() => limited(REQUEST_MS, whole ? undefined : signal, send), limitMs, signal);
  }

  result(id, options) {
    return this.call("GET", `/deploy/${encodeURIComponent(id)}/result`, options);
  }

  /**
   * Follows a deployment until it awaits its switch or is over; `onEvent` gets each event once, in order. Returns the result and the id of the last event.
   *
   * The order of the requests makes the end exact: first the result, then the stream. A status and its events are stored together, so if the stream has
   * nothing after the last event (204), every event up to that status was delivered.
   */
  async follow(id, { lastEventId = "", onEvent = () => {}, signal } = {}) {
    const patience = new Patience(this.unreachableMs, signal);
    const path = `/deploy/${encodeURIComponent(id)}/events?lang=${this.language}`;
    for (;;) {
      const result = await this.result(id, { signal });
      const since = lastEventId && `&lastEventId=${encodeURIComponent(lastEventId)}`;
      try {
        const isEnd = await limited(SILENCE_MS, signal, async (within, alive) => {
          const response = await this.#fetch("GET", path + since, { accept: "text/event-stream" }, undefined, within);
          if (response.status === 204) return true;
          if (!response.ok) throw new ServerError(response, await readJson(response));
          if (!response.headers.get("content-type")?.startsWith("text/event-stream")) throw new TypeError("the response is not an event stream");
          for await (const event of messages(response.body, alive)) {
            patience.answered();
            lastEventId = event.id;
            onEvent(event);
            // The server keeps the stream open for some more seconds.
            if (event.type !== "stage") break;
          }
          return false;
        });
        if (isEnd && result.status !== "RUNNING") return { result, lastEventId };
        // The status changed between the two requests, or the stream has more.
        await pause(100, signal);
      } catch (error) {
        await patience.failed(error);
      }
    }
  }

  /** A redirect would send the token elsewhere. */
  async #fetch(method, path, headers, body, signal) {
    const authorization = `Bearer ${await this.token(signal)}`;
    const type = body && { "content-type": "application/json" };
    return fetch(`${this.server}/api/v1${path}`, {
      method,
      headers: { ...headers, ...type, authorization, "accept-language": this.language, "user-agent": "panda-action" },
      ...(body && { body: JSON.stringify(body) }),
      redirect: "error",
      signal,
    });
  }
}
