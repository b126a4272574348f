import assert from "node:assert/strict";
import { test } from "node:test";

import { Panda, PandaError, unwrap } from "../dist/index.js";
import { cut, event, json, none, page, problem, Server, stream } from "./server.js";

const ID = "dep_1";
const EVENTS = `/api/v1/deploy/${ID}/events`;
const RESULT = `/api/v1/deploy/${ID}/result`;
const running = json({ deploymentId: ID, status: "RUNNING" });
const ready = json({ deploymentId: ID, status: "DEPLOYMENT_READY" });
const completed = json({ deploymentId: ID, status: "COMPLETED" });

async function followed(panda, options = {}) {
  const events = [];
  const result = await panda.wait(ID, { onEvent: (one) => events.push(one), ...options });
  return { events: events.map(({ id, type, message }) => `${id} ${type} ${message}`), result };
}

test("an error has Panda's code, field and text", async (t) => {
  const server = await Server.start(t);
  server.script("/api/v1/deploy", problem(400, "INVALID_REQUEST", {}, { field: "branch" }));
  const failed = new Panda({ server: server.url }).deploy({ owner: "acme" });
  await assert.rejects(failed, (error) => {
    assert.ok(error instanceof PandaError);
    assert.deepEqual([error.status, error.errorCode, error.field, error.message, error.isTemporary], [400, "INVALID_REQUEST", "branch", "because of INVALID_REQUEST", false]);
    return true;
  });
});

test("a proxy's page is an error without a code", async (t) => {
  const server = await Server.start(t);
  server.script("/api/v1/connections", page(502));
  const panda = new Panda({ server: server.url });
  const answer = await panda.api.GET("/api/v1/connections");
  assert.throws(() => unwrap(answer), (error) => error.status === 502 && error.errorCode === undefined && error.isTemporary);
});

test("every request has the token of its time, the language and the base path", async (t) => {
  const server = await Server.start(t);
  server.script("/panda/api/v1/deploy/dep_1/result", ready);
  let count = 0;
  const panda = new Panda({ server: `${server.url}/panda/`, token: async () => `token-${++count}`, language: "ko" });
  await panda.result(ID);
  await panda.result(ID);
  const sent = server.requests.map(({ headers }) => [headers.authorization, headers["accept-language"]]);
  assert.deepEqual(sent, [["Bearer token-1", "ko"], ["Bearer token-2", "ko"]]);
});

test("a repeated deployment has the same key and body", async (t) => {
  const server = await Server.start(t);
  server.script("/api/v1/deploy", cut, page(502), problem(503, "DATABASE_UNAVAILABLE", { "retry-after": "1" }), json({ deploymentId: ID }));
  const { deploymentId } = await new Panda({ server: server.url }).deploy({ owner: "acme", repo: "shop" });
  assert.equal(deploymentId, ID);
  assert.equal(server.requests.length, 4);
  assert.equal(new Set(server.requests.map(({ headers, body }) => headers["idempotency-key"] + body)).size, 1);
  assert.ok(server.requests[0].headers["idempotency-key"].length > 20);
});

test("events are delivered once and in order through every kind of outage", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running, cut, page(502), running, running, running, running, ready);
  server.script(
    EVENTS,
    stream([event("a", "stage", "one"), ": keep-alive\n\n", event("b", "stage", "two"), "id: c\nevent: stage\nda"], "break"),
    page(502),
    page(200),
    problem(429, "TOO_MANY_STREAMS", { "retry-after": "1" }),
    stream([event("c", "stage", "three")]),
    stream([event("d", "success", "ready")], "open"),
    none,
  );
  const { events, result } = await followed(new Panda({ server: server.url }), { language: "en" });
  assert.deepEqual(events, ["a stage one", "b stage two", "c stage three", "d success ready"]);
  assert.equal(result.status, "DEPLOYMENT_READY");
  const queries = server.to(EVENTS).map(({ url }) => url.split("?")[1]);
  assert.deepEqual(queries, ["lang=en", ...Array(4).fill("lang=en&lastEventId=b"), "lang=en&lastEventId=c", "lang=en&lastEventId=d"]);
});

test("letters that two packets divide, and lines that look like the protocol", async (t) => {
  const server = await Server.start(t);
  const text = "한글 🐼 \u2028 id: x\\n\\nevent: fail";
  const bytes = Buffer.from(event("a", "stage", text));
  server.script(RESULT, running, completed);
  server.script(EVENTS, stream(Array.from(bytes, (byte) => Buffer.from([byte]))), none);
  const { events } = await followed(new Panda({ server: server.url }));
  assert.deepEqual(events, [`a stage ${text}`]);
});

test("a ready deployment ends following, unless it is followed to its end", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, ready, ready, ready, completed);
  server.script(EVENTS, none, none, stream([event("e", "success", "completed")]), none);
  const panda = new Panda({ server: server.url });
  assert.equal((await panda.wait(ID)).status, "DEPLOYMENT_READY");
  const { events, result } = await followed(panda, { until: "finished", waitingMs: 1 });
  assert.deepEqual([events, result.status], [["e success completed"], "COMPLETED"]);
});

test("a status that changes between the two requests is no end", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running, completed);
  server.script(EVENTS, none);
  assert.equal((await followed(new Panda({ server: server.url }))).result.status, "COMPLETED");
  assert.equal(server.to(RESULT).length, 2);
});

test("a silent connection is replaced", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running, completed);
  server.script(EVENTS, stream([event("a", "stage", "one")], "open"), none);
  const { events } = await followed(new Panda({ server: server.url }), { silenceMs: 50 });
  assert.deepEqual(events, ["a stage one"]);
});

test("a refusal ends following", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running);
  server.script(EVENTS, problem(401, "UNAUTHORIZED"));
  await assert.rejects(followed(new Panda({ server: server.url })), { status: 401, errorCode: "UNAUTHORIZED" });
  assert.equal(server.requests.length, 2);
});

test("an unreachable server is an error after the limit", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, cut);
  await assert.rejects(followed(new Panda({ server: server.url }), { giveUpAfterMs: 600 }), TypeError);
  assert.ok(server.requests.length > 1);
});

test("an event that is not JSON is an error", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running);
  server.script(EVENTS, stream(["id: a\nevent: stage\ndata: no\n\n"]));
  await assert.rejects(followed(new Panda({ server: server.url })), SyntaxError);
});

test("an aborted signal ends following with its reason, in a stream and in a pause", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running);
  server.script(EVENTS, stream([event("a", "stage", "one")], "open"));
  const controller = new AbortController();
  const inStream = followed(new Panda({ server: server.url }), { signal: controller.signal, onEvent: () => controller.abort(new Error("enough")) });
  await assert.rejects(inStream, /enough/);
  server.script(RESULT, cut);
  await assert.rejects(followed(new Panda({ server: server.url }), { signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
});

test("leaving the loop closes the connection", async (t) => {
  const server = await Server.start(t);
  server.script(RESULT, running);
  let closed;
  const isClosed = new Promise((resolve) => { closed = resolve; });
  server.script(EVENTS, (response) => {
    response.on("close", closed);
    stream([event("a", "stage", "one")], "open")(response);
  });
  for await (const one of new Panda({ server: server.url }).events(ID)) {
    assert.equal(one.message, "one");
    break;
  }
  await isClosed;
});
