/**
 * Finds out why an EventSource stopped. It reports only that it is closed; two requests find the cause.
 *
 * Their order makes the result exact: first the deployment's status, then whether its stream has anything after the last event. If not,
 * every event up to that status was delivered, because a status and its events are
 * stored together. In the reverse order, events between the two requests would be lost.
 */

/** Temporary HTTP statuses. */
const PASSING = new Set([408, 425, 429]);

/** Time limit of both requests together. */
const ANSWER_MS = 10_000;

/** Longest wait that a server's Retry-After can cause. */
const LONGEST_RETRY_AFTER_MS = 60_000;

/**
 * @returns one of
 *   `{ is: "more" }`      the stream has more events: connect again
 *   `{ is: "finished", end }`  COMPLETED or FAILED, and every event was delivered
 *   `{ is: "ready", end }`     every event was delivered, and the deployment awaits approval
 *   `{ is: "refused", end }`   a response that will not change
 *   `{ is: "away", retryAfterMs, error }`  the server is unreachable or fails
 */
export async function ask(set, lastEventId, signal) {
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, ANSWER_MS);
  signal.addEventListener("abort", stop);
  try {
    return await decide(set, lastEventId, limit.signal);
  } catch (error) {
    return away(error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    // The second response may be an open stream, of which only the status is needed.
    stop();
  }
}

async function decide(set, lastEventId, signal) {
  const credentials = set.withCredentials ? "include" : "same-origin";
  const result = await set.fetch(set.resultUrl(await set.getTicket?.()), { headers: { accept: "application/json" }, credentials, cache: "no-store", signal });
  if (!result.ok) return failed(result);
  const { data } = await result.json();
  const headers = { accept: "text/event-stream" };
  const stream = await set.fetch(set.eventsUrl(lastEventId, await set.getTicket?.()), { headers, credentials, cache: "no-store", signal });
  if (stream.status === 204) return atTheEnd(data);
  if (!stream.ok) return failed(stream);
  // A proxy's page with status 200 would close the EventSource again.
  const type = stream.headers.get("content-type") ?? "";
  return type.startsWith("text/event-stream") ? { is: "more" } : away(new Error(`the response is not an event stream but ${type || "untyped"}`));
}

function atTheEnd(result) {
  switch (result?.status) {
    case "COMPLETED":
    case "FAILED":
      return { is: "finished", end: { reason: "finished", result } };
    case "DEPLOYMENT_READY":
      return { is: "ready", end: { reason: "ready", result } };
    default:
      // The status changed between the two requests: repeat them.
      return away(undefined);
  }
}

async function failed(response) {
  const { status } = response;
  if (status >= 500 || PASSING.has(status)) {
    return away(new Error(`the server returned ${status}`), retryAfterMs(response.headers.get("retry-after")));
  }
  // Panda's problem; a proxy sends another body, or none.
  const problem = await response.json().catch(() => undefined);
  const error = new Error(problem?.message ?? `the server returned ${status}`);
  return { is: "refused", end: { reason: "refused", status, errorCode: problem?.errorCode, error } };
}

function away(error, retryAfterMs = 0) {
  return { is: "away", error, retryAfterMs };
}

/** Reads seconds, the form that Panda sends; dates are ignored. */
function retryAfterMs(header) {
  const seconds = Number(header ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS) : 0;
}
