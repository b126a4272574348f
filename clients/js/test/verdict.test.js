import assert from "node:assert/strict";
import test from "node:test";

import { settings } from "../src/options.js";
import { ask } from "../src/verdict.js";
import { fault } from "./server.js";
import { quick, serve } from "./support.js";

async function asked(server, lastEventId = "e1") {
  return ask(settings("dep_1", quick(server)), lastEventId, new AbortController().signal);
}

test("the stream's own answer decides, not the status alone", async (t) => {
  const server = await serve(t);
  server.stage("one");
  assert.deepEqual(await asked(server), { is: "more" });
  server.status = "COMPLETED";
  assert.equal((await asked(server)).is, "finished");
  assert.deepEqual(await asked(server, ""), { is: "more" }, "nothing of it was told");
  server.status = "DEPLOYMENT_READY";
  assert.equal((await asked(server)).is, "ready");
});

test("a question whose answers contradict each other is asked again", async (t) => {
  const server = await serve(t);
  server.stage("one");
  server.streamFaults.push((response) => response.writeHead(204).end());
  assert.equal((await asked(server)).is, "away");
});

test("Retry-After is obeyed, up to a minute", async (t) => {
  const server = await serve(t);
  for (const [header, ms] of [["2", 2_000], ["86400", 60_000], ["-1", 0], ["Wed, 21 Oct 2026 07:28:00 GMT", 0]]) {
    server.resultFaults.push(fault(503, undefined, { "retry-after": header }));
    const { is, retryAfterMs } = await asked(server);
    assert.deepEqual([is, retryAfterMs], ["away", ms], header);
  }
});

test("a server that is gone, or answers no JSON, is away", async (t) => {
  const server = await serve(t);
  server.resultFaults.push((response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>"));
  assert.equal((await asked(server)).is, "away");
  server.resultFaults.push((response) => response.destroy());
  assert.equal((await asked(server)).is, "away");
});

test("the stream that is opened to see its status does not stay open", async (t) => {
  const server = await serve(t);
  await asked(server);
  const { until } = await import("./support.js");
  await until("the connection goes", () => server.open.size === 0);
});
