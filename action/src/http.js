/** Responses: bounded, and as errors with Panda's code. */

/** Longest response (bytes); a result has a few kilobytes, a list of connections at most some hundred. */
const LONGEST = 4 * 1024 * 1024;

/** Temporary HTTP statuses below 500. */
const PASSING = new Set([408, 425, 429]);

/** Longest wait that a server's Retry-After can cause (ms). */
const LONGEST_RETRY_AFTER_MS = 60_000;

/** A response that is not a success. */
export class ServerError extends Error {
  constructor(response, problem) {
    super(typeof problem?.message === "string" ? problem.message : `the server answered ${response.status}, without a problem of Panda`);
    this.status = response.status;
    this.errorCode = typeof problem?.errorCode === "string" ? problem.errorCode : "";
    this.field = typeof problem?.field === "string" ? problem.field : "";
    this.isTemporary = response.status >= 500 || PASSING.has(response.status);
    const seconds = Number(response.headers.get("retry-after") ?? 0);
    this.retryAfterMs = seconds > 0 ? Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS) : 0;
  }
}

/** The JSON of a response; undefined when it has none. */
export async function readJson(response) {
  let size = 0;
  const parts = [];
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > LONGEST) throw new Error("the response is longer than 4 MiB: is this a Panda?");
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    return undefined;
  }
}
