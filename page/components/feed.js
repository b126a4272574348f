// The events of all deployments, on one connection for the whole view. It reconnects by itself and after errors of a proxy.
import { lang, url } from "./page.js";
import { checkSession } from "./session.js";

/** @typedef {{ type: "stage" | "success" | "fail", deploymentId: string, message: string, details?: Record<string, unknown> }} FeedEvent */

const LONGEST_WAIT_MS = 15_000;

/** @type {EventSource | undefined} */
let source;
let lastEventId = "";
let failures = 0;
/** What each listener wants to be called for when the connection is open. @type {Map<(event: FeedEvent) => void, () => void>} */
const listeners = new Map();

/**
 * Calls `listener` for each event once the connection is open, and `opened` each time that it is: what happened before is not among the events.
 * @param {(event: FeedEvent) => void} listener
 * @param {() => void} [opened]
 * @returns {() => void} ends that
 */
export function subscribe(listener, opened = () => {}) {
  listeners.set(listener, opened);
  if (!source) connect();
  else if (source.readyState === EventSource.OPEN) queueMicrotask(opened);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      source?.close();
      source = undefined;
    }
  };
}

function connect() {
  const query = new URLSearchParams({ lang });
  if (lastEventId) query.set("lastEventId", lastEventId);
  const opened = new EventSource(url(`/api/v1/events?${query}`));
  source = opened;
  opened.addEventListener("open", () => {
    // Events before the first connection, or lost with it, are in the HTML that the regions load now.
    const wasAway = failures > 0;
    failures = 0;
    report("open");
    if (wasAway) document.dispatchEvent(new CustomEvent("panda:reload"));
    for (const call of [...listeners.values()]) call();
  });
  opened.addEventListener("error", async () => {
    if (source !== opened) return;
    failures += 1;
    const isClosed = opened.readyState === EventSource.CLOSED;
    if (isClosed && !(await checkSession())) return;
    // One failure is a rotation or a restart, which takes less time than reading a message about it.
    if (failures > 1 || isClosed) report("away");
    if (!isClosed) return;
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
    setTimeout(() => { if (source === opened) connect(); }, wait);
  });
  for (const type of /** @type {const} */ (["stage", "success", "fail"])) {
    opened.addEventListener(type, (event) => {
      lastEventId = event.lastEventId;
      const data = { type, ...JSON.parse(event.data) };
      for (const listener of [...listeners.keys()]) listener(data);
    });
  }
}

// After a sign-in in another tab, what happened meanwhile is in the HTML.
document.addEventListener("panda:signed-in", () => {
  if (!source) return;
  if (source.readyState === EventSource.CLOSED) connect();
  document.dispatchEvent(new CustomEvent("panda:reload"));
});

/** @param {"open" | "away"} state */
export function report(state) {
  document.dispatchEvent(new CustomEvent("panda:connection", { detail: state }));
}
