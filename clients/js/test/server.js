import { once } from "node:events";
import { createServer } from "node:http";

const JSON_TYPE = { "content-type": "application/json" };
const STREAM_TYPE = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache, no-transform" };

/**
 * A server of one deployment that misbehaves on demand, as a front end sees it behind proxies; a real Panda alone never does.
 * (The same client follows a real Panda in tests/it/streams_clients.)
 */
export class Server {
  /** Past events: `{id, event, data}`. */
  history = [];
  status = "RUNNING";
  /** Requests for the stream, in order: `{lastEventId, lang}`. */
  asked = [];
  /** Replace the responses to the next requests for the stream: functions of the response. */
  streamFaults = [];
  /** Replace the responses to the next requests for the result. */
  resultFaults = [];
  open = new Set();
  /** Valid tickets, each for one use; undefined when none is required. */
  tickets;
  /** Requests without a valid ticket. */
  refusals = 0;
  #http = createServer((request, response) => this.#answer(request, response));

  static async start() {
    const server = new Server();
    server.#http.listen(0, "127.0.0.1");
    await once(server.#http, "listening");
    server.url = `http://127.0.0.1:${server.#http.address().port}`;
    return server;
  }

  stop() {
    this.#http.closeAllConnections();
    this.#http.close();
  }

  /** Publishes an event of the deployment. */
  tell(event, data) {
    const delivered = { id: `e${this.history.length + 1}`, event, data: JSON.stringify(data) };
    this.history.push(delivered);
    for (const response of this.open) response.write(frame(delivered));
    return delivered.id;
  }

  stage(message) {
    return this.tell("stage", { type: "stage", message, details: { stage: 1 } });
  }

  /** Ends all streams, as a restart does. */
  hangUp() {
    for (const response of this.open) response.end();
    this.open.clear();
  }

  /** Ends all streams, and makes each reconnecting EventSource stop for good. */
  shut() {
    this.streamFaults.push(fault(503));
    this.hangUp();
  }

  #answer(request, response) {
    const url = new URL(request.url, this.url);
    if (this.tickets && !this.tickets.delete(url.searchParams.get("ticket"))) {
      this.refusals += 1;
      fault(401, { errorCode: "NOT_SIGNED_IN", message: "the ticket was used before" })(response);
      return;
    }
    if (url.pathname === "/api/v1/deploy/dep_1/result") this.#result(response);
    else if (url.pathname === "/api/v1/deploy/dep_1/events") this.#events(request, response, url);
    else fault(404, { errorCode: "DEPLOYMENT_NOT_FOUND", message: "there is no deployment" })(response);
  }

  #result(response) {
    const instead = this.resultFaults.shift();
    if (instead) return instead(response);
    return response.writeHead(200, JSON_TYPE).end(JSON.stringify({ code: 200, message: "m", data: { status: this.status } }));
  }

  #events(request, response, url) {
    const lastEventId = request.headers["last-event-id"] ?? url.searchParams.get("lastEventId");
    this.asked.push({ lastEventId, lang: url.searchParams.get("lang") });
    const instead = this.streamFaults.shift();
    if (instead) return instead(response);
    const rest = this.history.slice(this.history.findIndex(({ id }) => id === lastEventId) + 1);
    if (rest.length === 0 && lastEventId && this.status !== "RUNNING") return response.writeHead(204).end();
    response.writeHead(200, STREAM_TYPE).flushHeaders();
    for (const delivered of rest) response.write(frame(delivered));
    this.open.add(response);
    return response.on("close", () => this.open.delete(response));
  }
}

function frame({ id, event, data }) {
  // Panda sends 5000.
  return `id: ${id}\nevent: ${event}\nretry: 10\ndata: ${data}\n\n`;
}

/** Returns a response with this status. */
export function fault(status, problem, headers = {}) {
  return (response) => response.writeHead(status, { ...JSON_TYPE, ...headers }).end(problem ? JSON.stringify(problem) : "<h1>Away</h1>");
}
