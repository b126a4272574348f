/** What a caller gave, checked: a mistake is told at the call, naming the option. */
export function settings(deploymentId, options) {
  if (typeof deploymentId !== "string" || deploymentId === "") {
    throw new TypeError("deploymentId: give the id that POST /api/v1/deploy answered, such as dep_4k1zq0v7w3m9x2c8b5n6");
  }
  const EventSource = options.EventSource ?? globalThis.EventSource;
  if (typeof EventSource !== "function") {
    throw new TypeError("EventSource: there is none here; in Node give the one of the npm package eventsource");
  }
  const fetch = options.fetch ?? globalThis.fetch?.bind(globalThis);
  if (typeof fetch !== "function") throw new TypeError("fetch: there is none here; give one");
  for (const name of ["onStage", "onSuccess", "onFail", "onConnection", "ticket"]) {
    if (options[name] !== undefined && typeof options[name] !== "function") throw new TypeError(`${name}: give a function`);
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
    // A first connection of an EventSource can set no header: the id is in the address.
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

/** The deployment's address: below `server`, which may itself have a path, or of the page's own origin. */
function deploymentUrl(server, deploymentId) {
  const path = `/api/v1/deploy/${encodeURIComponent(deploymentId)}`;
  if (server === undefined) {
    if (globalThis.location === undefined) throw new TypeError("server: give Panda's address; there is no page here to be relative to");
    return path;
  }
  let url;
  try {
    url = new URL(server, globalThis.location?.href);
  } catch (cause) {
    throw new TypeError("server: give an address such as https://panda.example.com", { cause });
  }
  return url.origin + url.pathname.replace(/\/+$/, "") + path;
}

/** A ticket, which is good for one request. */
async function getTicket(ticket, deploymentId) {
  const given = await ticket(deploymentId);
  if (typeof given !== "string" || given === "") throw new TypeError("ticket: the function gave no ticket");
  return given;
}

function withQuery(url, parameters) {
  const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value)).toString();
  return text ? `${url}?${text}` : url;
}

function positive(name, value) {
  if (typeof value !== "number" || !(value > 0) || value > 2 ** 31 - 1) throw new TypeError(`${name}: give milliseconds above 0`);
  return value;
}
