/** Validates the caller's options; throws a TypeError that names an invalid one. */
export function settings(deploymentId, options) {
  if (typeof deploymentId !== "string" || deploymentId === "") {
    throw new TypeError("deploymentId: pass the id from POST /api/v1/deploy, such as dep_4k1zq0v7w3m9x2c8b5n6");
  }
  const EventSource = options.EventSource ?? globalThis.EventSource;
  if (typeof EventSource !== "function") {
    throw new TypeError("EventSource: this platform has none; in Node pass the one of the npm package eventsource");
  }
  const fetch = options.fetch ?? globalThis.fetch?.bind(globalThis);
  if (typeof fetch !== "function") throw new TypeError("fetch: this platform has none; pass one");
  for (const name of ["onStage", "onSuccess", "onFail", "onConnection", "ticket"]) {
    if (options[name] !== undefined && typeof options[name] !== "function") throw new TypeError(`${name}: pass a function`);
  }
  const backoff = {
    minMs: positive("backoff.minMs", options.backoff?.minMs ?? 500),
    maxMs: positive("backoff.maxMs", options.backoff?.maxMs ?? 30_000),
  };
  const base = deploymentUrl(options.server, deploymentId);
  return {
    EventSource,
    fetch,
    backoff,
    getTicket: options.ticket && (() => getTicket(options.ticket, deploymentId)),
    resultUrl: (ticket) => withQuery(`${base}/result`, { ticket }),
    // The first connection of an EventSource can set no header, so the id is in the address.
    eventsUrl: (lastEventId, ticket) => withQuery(`${base}/events`, { lang: options.language, lastEventId, ticket }),
    lastEventId: options.lastEventId ?? "",
    withCredentials: options.withCredentials === true,
    stopWhenReady: options.stopWhenReady === true,
    waitingMs: positive("waitingMs", options.waitingMs ?? 10_000),
    silenceMs: positive("silenceMs", options.silenceMs ?? 900_000),
    signal: options.signal,
    on: { stage: options.onStage, success: options.onSuccess, fail: options.onFail, connection: options.onConnection },
  };
}

/** Returns the deployment's address, below `server` (which may have a path) or on the page's origin. */
function deploymentUrl(server, deploymentId) {
  const path = `/api/v1/deploy/${encodeURIComponent(deploymentId)}`;
  if (server === undefined) {
    if (globalThis.location === undefined) throw new TypeError("server: pass Panda's address; without a page there is no origin to default to");
    return path;
  }
  let url;
  try {
    url = new URL(server, globalThis.location?.href);
  } catch (cause) {
    throw new TypeError("server: pass an address such as https://panda.example.com", { cause });
  }
  return url.origin + url.pathname.replace(/\/+$/, "") + path;
}

/** Requests a ticket, which is valid for one request. */
async function getTicket(ticket, deploymentId) {
  const given = await ticket(deploymentId);
  if (typeof given !== "string" || given === "") throw new TypeError("ticket: the function returned no ticket");
  return given;
}

function withQuery(url, parameters) {
  const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
  return text ? `${url}?${text}` : url;
}

function positive(name, value) {
  if (typeof value !== "number" || !(value > 0) || value > 2 ** 31 - 1) throw new TypeError(`${name}: pass milliseconds above 0`);
  return value;
}
