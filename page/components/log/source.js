// The events of a log: everything up to now in one response, then live. Each event is delivered once, also after a restart of the server.
//
// A browser opens six connections to a host over HTTP/1.1, so a view has one: while the deployment's own stream is open, the live regions of the view
// get its events (`panda:event`) instead of those of the feed.
import { follow } from "../../client/follow.js";
import { report, subscribe } from "../feed.js";
import { base, lang, url } from "../page.js";
import { sessionEnded } from "../session.js";

/** @typedef {import("./lines.js").LogEvent} LogEvent */

const LONGEST_WAIT_MS = 10_000;

/** Time without a connection after which the page says so: a rotation or a restart takes less. */
const PATIENCE_MS = 2_000;

export class LogSource {
  #last = "";
  #isEnded = false;
  #abort = new AbortController();
  /** @type {Set<string>} */
  #known = new Set();
  /** @type {import("../../client/index.js").Following | undefined} */
  #following;
  #unsubscribe = () => {};
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  #isAway = false;

  /**
   * @param {string} deployment
   * @param {(events: LogEvent[]) => void} take
   * @param {() => void} complete called when everything up to now was taken
   */
  constructor(deployment, take, complete) {
    this.deployment = deployment;
    this.take = take;
    this.#run(complete);
  }

  close() {
    this.#isEnded = true;
    this.#abort.abort();
    this.#following?.close();
    this.#unsubscribe();
    clearTimeout(this.#patience);
  }

  /** @param {() => void} complete */
  async #run(complete) {
    for (let failures = 0; !this.#isEnded; failures++) {
      try {
        if (!(await this.#history())) return;
        break;
      } catch {
        // Cut off by a restart, or unreachable: the next request asks for the rest.
        if (failures > 0) report("away");
        await new Promise((resolve) => setTimeout(resolve, Math.min(LONGEST_WAIT_MS, 250 * 2 ** failures)));
      }
    }
    if (this.#isEnded) return;
    complete();
    this.#follow();
    // After a sign-in in another tab.
    document.addEventListener("panda:signed-in", () => {
      if (this.#following) return;
      this.#unsubscribe();
      this.#follow();
      document.dispatchEvent(new CustomEvent("panda:reload"));
    }, { signal: this.#abort.signal });
  }

  /** Reads the stored events. False for a refusal, which repeating does not change. */
  async #history() {
    const query = new URLSearchParams({ format: "ndjson", lang });
    if (this.#last) query.set("after", this.#last);
    const response = await fetch(url(`/api/v1/deploy/${encodeURIComponent(this.deployment)}/log?${query}`), { cache: "no-store", signal: this.#abort.signal });
    if (response.status === 401) sessionEnded();
    if (response.status >= 500 || response.status === 429) throw new Error(`the server returned ${response.status}`);
    if (!response.ok || !response.body) return false;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      const text = rest + (value ?? "");
      const end = text.lastIndexOf("\n");
      rest = text.slice(end + 1);
      if (end > 0) this.#deliver(JSON.parse(`[${text.slice(0, end).replaceAll("\n", ",")}]`));
      if (done) return true;
    }
  }

  /** @param {LogEvent[]} events */
  #deliver(events) {
    const fresh = events.filter(({ id }) => !this.#known.has(id));
    for (const { id } of fresh) this.#known.add(id);
    const last = events.at(-1);
    if (last) this.#last = last.id;
    if (fresh.length > 0) this.take(fresh);
  }

  #follow() {
    const one = (/** @type {LogEvent} */ event) => {
      this.#deliver([event]);
      document.dispatchEvent(new CustomEvent("panda:event", { detail: { ...event, deploymentId: this.deployment } }));
    };
    const handlers = { onStage: one, onSuccess: one, onFail: one, onConnection: (/** @type {{ state: string }} */ { state }) => this.#connection(state) };
    const following = follow(this.deployment, { server: location.origin + base, language: lang, lastEventId: this.#last, stopWhenReady: true, ...handlers });
    this.#following = following;
    following.done.then((end) => {
      if (this.#isEnded) return;
      this.#following = undefined;
      if (end.reason === "refused" && end.status === 401) sessionEnded();
      else this.#await();
    });
  }

  /** Waits in the feed for a switch, a retry or a change at AWS, which continue a log that had ended. */
  #await() {
    let waits = true;
    const resume = () => {
      if (!waits || this.#isEnded) return;
      waits = false;
      unsubscribe();
      this.#follow();
    };
    const heard = (/** @type {{ deploymentId: string }} */ event) => { if (event.deploymentId === this.deployment) resume(); };
    const unsubscribe = subscribe(heard, async () => { if (waits && await this.#catchUp()) resume(); });
    this.#unsubscribe = unsubscribe;
  }

  /** Reads what happened while neither the stream nor the feed was open. True if there was something. */
  async #catchUp() {
    const last = this.#last;
    try {
      await this.#history();
    } catch {
      return false;
    }
    if (this.#last === last) return false;
    document.dispatchEvent(new CustomEvent("panda:reload"));
    return true;
  }

  /** @param {string} state */
  #connection(state) {
    clearTimeout(this.#patience);
    const away = () => {
      this.#isAway = true;
      report("away");
    };
    // The server ends a stream that has nothing to send, as at each pause of a rollout, and the browser takes longer to connect again than a reader
    // should be left in doubt: a server that answers is not away, unless the stream stays closed.
    const doubt = async () => {
      const answers = await reachable();
      if (this.#patience !== timer) return;
      if (answers) this.#patience = setTimeout(away, LONGEST_WAIT_MS);
      else away();
    };
    const timer = state === "connecting" ? setTimeout(doubt, PATIENCE_MS) : undefined;
    this.#patience = timer;
    if (state === "away") away();
    else if (state === "open") {
      report("open");
      // The view may have changed meanwhile, too.
      if (this.#isAway) document.dispatchEvent(new CustomEvent("panda:reload"));
      this.#isAway = false;
    }
  }
}

/** True if the server answers. */
async function reachable() {
  try {
    return (await fetch(url("/healthz"), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}
