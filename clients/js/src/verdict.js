/**
 * Why an EventSource gave up. It reports only that it is closed; these two requests find out what that means.
 *
 * The order makes the answer exact: first the deployment's status, then whether its stream has anything after our last event. "No"
 * to the second means that everything was told that led to the status of the first, since a status and its events are
 * stored together. The other way round, what happens between the two would be lost.
 */

/** Statuses of HTTP that may be others in a moment. */
const PASSING = new Set([408, 425, 429]);

/** Time that a question may take. */
const ANSWER_MS = 10_000;

/** Longest that a server's Retry-After is obeyed. */
const LONGEST_RETRY_AFTER_MS = 60_000;

/**
 * @returns one of
 *   `{ is: "more" }`      the stream goes on: connect again
 *   `{ is: "finished", end }`  COMPLETED or FAILED, and everything was told
 *   `{ is: "ready", end }`     everything was told, and the deployment waits for a person
 *   `{ is: "refused", end }`   the server will not answer otherwise, however often it is asked
 *   `{ is: "away", retryAfterMs, error }`  nobody answers sensibly just now
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
    // The second answer may be an open stream, of which we wanted the status only.
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
  return type.startsWith("text/event-stream") ? { is: "more" } : away(new Error(`the answer is no event stream but ${type || "untyped"}`));
}

function atTheEnd(result) {
  switch (result?.status) {
    case "COMPLETED":
    case "FAILED":
      return { is: "finished", end: { reason: "finished", result } };
    case "DEPLOYMENT_READY":
      return { is: "ready", end: { reason: "ready", result } };
    default:
      // It changed between the two questions: they are asked again.
      return away(undefined);
  }
}

async function failed(response) {
  const { status } = response;
  if (status >= 500 || PASSING.has(status)) {
    return away(new Error(`the server answers ${status}`), retryAfterMs(response.headers.get("retry-after")));
  }
  // What Panda says of it; a proxy says something else, or nothing.
  const problem = await response.json().catch(() => undefined);
  const error = new Error(problem?.message ?? `the server answers ${status}`);
  return { is: "refused", end: { reason: "refused", status, errorCode: problem?.errorCode, error } };
}

function away(error, retryAfterMs = 0) {
  return { is: "away", error, retryAfterMs };
}

/** Seconds as Panda sends them; a date is not worth its code here. */
function retryAfterMs(header) {
  const seconds = Number(header ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS) : 0;
}
