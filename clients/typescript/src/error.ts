import type { components } from "./api.js";

/** The body of an error: `application/problem+json` (RFC 9457) with Panda's members. */
export type Problem = components["schemas"]["Problem"];

/** Longest wait that a server's Retry-After can cause (ms). */
const LONGEST_RETRY_AFTER_MS = 60_000;

/** Temporary HTTP statuses below 500. */
const PASSING = new Set([408, 425, 429]);

/** A response that is not a success: Panda's problem, or one of a proxy before it. */
export class PandaError extends Error {
  override readonly name = "PandaError";
  /** The HTTP status. */
  readonly status: number;
  /** Panda's stable code (docs/errors.md), absent when the response is not Panda's. */
  readonly errorCode: string | undefined;
  /** The invalid field of the request. */
  readonly field: string | undefined;
  /** The whole problem. */
  readonly problem: Problem | undefined;
  /** The wait that the server asks for (ms), or 0. */
  readonly retryAfterMs: number;

  constructor(response: Response, body: unknown) {
    const problem = asProblem(body);
    super(problem?.message ?? `the server returned ${response.status}, without a problem of Panda`);
    this.status = response.status;
    this.problem = problem;
    this.errorCode = problem?.errorCode;
    this.field = problem?.field ?? undefined;
    this.retryAfterMs = retryAfterMs(response.headers.get("retry-after"));
  }

  /** True when the same request may succeed later. */
  get isTemporary(): boolean {
    return this.status >= 500 || PASSING.has(this.status);
  }
}

/** True for an error after which the same request may succeed later: an unreachable server, or one that is overloaded. */
export function isTemporary(error: unknown): boolean {
  if (error instanceof PandaError) return error.isTemporary;
  // `fetch` reports an unreachable server, and a broken body, as a TypeError; a time limit of this package is a TimeoutError.
  return error instanceof TypeError || (error instanceof DOMException && error.name === "TimeoutError");
}

function asProblem(body: unknown): Problem | undefined {
  const problem = body as Partial<Problem> | null | undefined;
  return typeof problem?.errorCode === "string" && typeof problem.message === "string" ? (body as Problem) : undefined;
}

/** Reads seconds, the form that Panda sends; dates are ignored. */
function retryAfterMs(header: string | null): number {
  const seconds = Number(header ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS) : 0;
}
