import assert from "node:assert/strict";
import test from "node:test";

import { fault } from "./server.js";
import { serve, until, watch } from "./support.js";

const html = (response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>Sign in</h1>");

test("events have types, ids and contents", async (t) => {
  const server = await serve(t);
  server.stage("cloned");
  server.tell("fail", { message: "no Dockerfile" });
  server.status = "FAILED";
  const { following, delivered, states } = watch(t, server);
  assert.deepEqual(await following.done, { reason: "finished", result: { status: "FAILED" } });
  assert.deepEqual(delivered, [
    { type: "stage", id: "e1", message: "cloned", details: { stage: 1 } },
    { type: "fail", id: "e2", message: "no Dockerfile" },
  ]);
  assert.deepEqual(states, ["open", "ended"]);
  assert.equal(following.lastEventId, "e2");
});

test("ended stream: the EventSource resumes without gap or repetition", async (t) => {
  const server = await serve(t);
  const { messages } = watch(t, server);
  for (let n = 1; n <= 5; n += 1) {
    await until("a connection", () => server.open.size === 1);
    server.stage(`m${n}`);
    await until("the event is delivered", () => messages().length === n);
    server.hangUp();
  }
  assert.deepEqual(messages(), ["m1", "m2", "m3", "m4", "m5"]);
  assert.deepEqual(server.asked.map(({ lastEventId }) => lastEventId).slice(0, 3), [null, "e1", "e2"]);
});

for (const [what, answer] of [
  ["503", fault(503)], ["502", fault(502)], ["429", fault(429)], ["404 from a proxy that lost its server", fault(404)], ["no event stream", html],
]) {
  test(`EventSource closed by ${what}: a new one resumes after the last event`, async (t) => {
    const server = await serve(t);
    server.stage("before");
    const { messages, following } = watch(t, server);
    await until("the first event", () => messages().length === 1);
    // For the EventSource and, mostly, once more for the request that finds the cause.
    server.streamFaults.push(answer, ...(answer === html ? [answer] : []));
    server.hangUp();
    await until("the server fails", () => server.streamFaults.length === 0);
    server.stage("after");
    await until("the next event", () => messages().length === 2);
    assert.deepEqual(messages(), ["before", "after"]);
    assert.equal(server.asked.at(-1).lastEventId, "e1");
    assert.equal(following.state, "open");
  });
}

test("unreachable server: it is retried", async (t) => {
  const server = await serve(t);
  server.resultFaults = Array.from({ length: 4 }, () => fault(503));
  server.resultFaults.push((response) => response.destroy());
  server.streamFaults.push(fault(503));
  server.stage("at last");
  const { messages, states } = watch(t, server);
  await until("the event is delivered", () => messages().length === 1);
  assert.ok(states.includes("away"), String(states));
  assert.equal(server.resultFaults.length, 0);
});

test("long outage: it reconnects soon after the server answers again", async (t) => {
  const server = await serve(t);
  server.stage("before");
  // Each try without an answer doubles the pause: after eight, the next one would take minutes.
  const backoff = { minMs: 4, maxMs: 3_600_000 };
  const { messages, states } = watch(t, server, { backoff });
  await until("the first event", () => messages().length === 1);
  server.resultFaults = Array.from({ length: 8 }, () => fault(502));
  server.shut();
  await until("the last failure is answered", () => server.resultFaults.length === 0);
  server.stage("after");
  // Now it rests for 4 ms * 2 ** 7 at most, and then once more for 4 ms: not for 4 ms * 2 ** 8.
  const answered = server.asked.length;
  await until("the server is asked again", () => server.asked.length > answered);
  const began = Date.now();
  await until("the next event", () => messages().length === 2);
  assert.ok(Date.now() - began < 400, `${Date.now() - began} ms after the answer`);
  assert.ok(states.includes("away"), String(states));
  assert.deepEqual(messages(), ["before", "after"]);
});

test("streams that open and break without an event: the pauses grow", async (t) => {
  const server = await serve(t);
  server.stage("one");
  const { messages } = watch(t, server, { backoff: { minMs: 40, maxMs: 3_600_000 } });
  await until("the first event", () => messages().length === 1);
  // A response that stops the EventSource for good, and then a stream without an event for the request that finds the cause.
  const times = [];
  const broken = (response) => { times.push(Date.now()); fault(503)(response); };
  const empty = (response) => { times.push(Date.now()); response.writeHead(200, { "content-type": "text/event-stream" }).end(); };
  for (let n = 0; n < 4; n += 1) server.streamFaults.push(broken, empty);
  server.hangUp();
  await until("the faults are used up", () => server.streamFaults.length === 0);
  // From each request that finds the cause to the next connection: at least half of 40, 80 and 160 ms.
  const pauses = [1, 3, 5].map((at) => times[at + 1] - times[at]);
  assert.ok(pauses[0] >= 15 && pauses[1] >= 35 && pauses[2] >= 75, String(pauses));
});

test("deployment ended while disconnected: every event is delivered", async (t) => {
  const server = await serve(t);
  server.stage("one");
  const { following, messages } = watch(t, server);
  await until("the first event", () => messages().length === 1);
  server.shut();
  server.stage("two");
  server.tell("success", { message: "done" });
  server.status = "COMPLETED";
  const end = await following.done;
  assert.deepEqual([end.reason, end.result.status], ["finished", "COMPLETED"]);
  assert.deepEqual(messages(), ["one", "two", "done"]);
});

test("204 before any event ends a finished deployment", async (t) => {
  const server = await serve(t);
  server.tell("success", { message: "done" });
  server.status = "COMPLETED";
  const { following, delivered } = watch(t, server, { lastEventId: "e1" });
  assert.equal((await following.done).reason, "finished");
  assert.deepEqual(delivered, []);
});

test("deployment awaiting its switch: it is polled, and resumed", async (t) => {
  const server = await serve(t);
  server.tell("success", { message: "ready" });
  server.status = "DEPLOYMENT_READY";
  const { following, messages, states } = watch(t, server, { waitingMs: 3_600_000 });
  await until("the event is delivered", () => messages().length === 1);
  server.hangUp();
  await until("it waits", () => following.state === "waiting");
  server.status = "RUNNING";
  following.resume();
  await until("it is connected again", () => server.open.size === 1);
  server.tell("success", { message: "completed" });
  server.status = "COMPLETED";
  server.hangUp();
  assert.equal((await following.done).reason, "finished");
  assert.deepEqual(messages(), ["ready", "completed"]);
  assert.ok(states.includes("waiting"));
});

test("switch by another client is seen without resume", async (t) => {
  const server = await serve(t);
  server.tell("success", { message: "ready" });
  server.status = "DEPLOYMENT_READY";
  const { following, messages } = watch(t, server, { lastEventId: "e1" });
  await until("it waits", () => following.state === "waiting");
  server.tell("success", { message: "completed" });
  server.status = "COMPLETED";
  assert.equal((await following.done).result.status, "COMPLETED");
  assert.deepEqual(messages(), ["completed"]);
});

test("stopWhenReady ends when the deployment is ready", async (t) => {
  const server = await serve(t);
  server.tell("success", { message: "ready" });
  server.status = "DEPLOYMENT_READY";
  const { following, messages } = watch(t, server, { stopWhenReady: true });
  assert.deepEqual(await following.done, { reason: "ready", result: { status: "DEPLOYMENT_READY" } });
  assert.deepEqual(messages(), ["ready"]);
});

test("refused request is not repeated", async (t) => {
  const server = await serve(t);
  server.streamFaults.push(fault(403));
  server.resultFaults.push(fault(403, { message: "this deployment is not yours", errorCode: "FORBIDDEN" }));
  const { following } = watch(t, server);
  const { reason, status, errorCode, error } = await following.done;
  assert.deepEqual([reason, status, errorCode, error.message], ["refused", 403, "FORBIDDEN", "this deployment is not yours"]);
  assert.equal(server.asked.length, 1);
});

test("foreign event ends following as broken", async (t) => {
  const server = await serve(t);
  server.history.push({ id: "e1", event: "stage", data: "<p>" });
  const { following } = watch(t, server);
  const { reason, error } = await following.done;
  assert.deepEqual([reason, error instanceof Error], ["broken", true]);
});

test("close stops events and closes the connection", async (t) => {
  const server = await serve(t);
  server.stage("one");
  const { following, messages, states } = watch(t, server);
  await until("the first event", () => messages().length === 1);
  following.close();
  assert.deepEqual(await following.done, { reason: "closed" });
  server.stage("two");
  await until("the connection goes", () => server.open.size === 0);
  assert.deepEqual(messages(), ["one"]);
  assert.equal(states.at(-1), "ended");
});

test("signal ends following: before the start, while connected, while away", async (t) => {
  const server = await serve(t);
  const before = watch(t, server, { signal: AbortSignal.abort() });
  assert.equal((await before.following.done).reason, "closed");
  assert.equal(server.asked.length, 0);
  const connected = new AbortController();
  const { following } = watch(t, server, { signal: connected.signal });
  await until("it is open", () => following.state === "open");
  connected.abort();
  assert.equal((await following.done).reason, "closed");
  server.stop();
  const away = new AbortController();
  const last = watch(t, server, { signal: away.signal, backoff: { minMs: 3_600_000, maxMs: 3_600_000 } });
  // npm's EventSource retries without a listener.
  await until("it tried", () => last.following.state !== "open");
  away.abort();
  assert.equal((await last.following.done).reason, "closed");
});

test("language and lastEventId are sent, also after a resumption", async (t) => {
  const server = await serve(t);
  server.stage("one");
  server.stage("two");
  const { messages } = watch(t, server, { language: "en", lastEventId: "e1" });
  await until("the second event", () => messages().length === 1);
  server.shut();
  await until("the EventSource reconnected", () => server.open.size === 1);
  assert.deepEqual(server.asked[0], { lastEventId: "e1", lang: "en" });
  assert.deepEqual(server.asked.at(-1), { lastEventId: "e2", lang: "en" });
});

test("silent connection is replaced, and resumes after the last event", async (t) => {
  const server = await serve(t);
  server.stage("one");
  const { messages } = watch(t, server, { silenceMs: 100 });
  await until("it came again", () => server.asked.length >= 3);
  server.stage("two");
  await until("the next event", () => messages().length === 2);
  assert.deepEqual(messages(), ["one", "two"]);
  assert.equal(server.asked.at(-1).lastEventId, "e1");
  await until("the old connections are closed", () => server.open.size === 1);
});
