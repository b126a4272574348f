import { createServer } from "node:http";
import { once } from "node:events";

/** A server that answers each request with the next of its scripted answers for that path, and the last one again. */
export class Server {
  #http = createServer((request, response) => this.#answer(request, response));
  #scripts = new Map();
  /** All requests: method, path with query, headers and body. */
  requests = [];

  static async start(t) {
    const server = new Server();
    server.#http.listen(0, "127.0.0.1");
    await once(server.#http, "listening");
    server.url = `http://127.0.0.1:${server.#http.address().port}`;
    t.after(() => {
      server.#http.closeAllConnections();
      server.#http.close();
    });
    return server;
  }

  /** `answers` are functions of the response. */
  script(path, ...answers) {
    this.#scripts.set(path, answers);
  }

  to(path) {
    return this.requests.filter((request) => request.url.startsWith(path));
  }

  async #answer(request, response) {
    let body = "";
    for await (const part of request) body += part;
    const { method, url, headers } = request;
    this.requests.push({ method, url, headers, body });
    const answers = this.#scripts.get(url.split("?")[0]) ?? [problem(404, "NOT_FOUND")];
    (answers.length > 1 ? answers.shift() : answers[0])(response);
  }
}

export const json = (data) => (response) => {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ code: 200, message: "…", data }));
};

export const problem = (status, errorCode, headers = {}, members = {}) => (response) => {
  response.writeHead(status, { "content-type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ status, errorCode, message: `because of ${errorCode}`, ...members }));
};

/** A proxy's page. */
export const page = (status) => (response) => {
  response.writeHead(status, { "content-type": "text/html" });
  response.end("<html>away</html>");
};

export const none = (response) => response.writeHead(204).end();

export const cut = (response) => response.socket.destroy();

export const event = (id, type, message, details) => `id: ${id}\nevent: ${type}\nretry: 5000\ndata: ${JSON.stringify({ message, details })}\n\n`;

/** A stream of these parts, which then ends, breaks or stays open. */
export const stream = (parts, then = "end") => async (response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const part of parts) await new Promise((sent) => { response.write(part, sent); });
  if (then === "end") response.end();
  if (then === "break") response.socket.destroy();
};
