import assert from "node:assert/strict";
import test from "node:test";

import { settings } from "../src/options.js";
import { ask } from "../src/verdict.js";
import { fault } from "./server.js";
import { quick, serve } from "./support.js";

async function asked(server, lastEventId = "e1") {
  return ask(settings("dep_1", quick(server)), lastEventId, new AbortController().signal);
}

test("the stream's response decides, not only the status", async (t) => {
  const server = await serve(t);
  server.stage("one");
  assert.deepEqual(await asked(server), { is: "more" });
  server.status = "COMPLETED";
  assert.equal((await asked(server)).is, "finished");
  assert.deepEqual(await asked(server, ""), { is: "more" }, "no event was delivered");
  server.status = "DEPLOYMENT_READY";
  assert.equal((await asked(server)).is, "ready");
});

test("contradictory responses are requested again", async (t) => {
  const server = await serve(t);
  server.stage("one");
  server.streamFaults.push((response) => response.writeHead(204).end());
  assert.equal((await asked(server)).is, "away");
});

test("Retry-After is honoured, up to a minute", async (t) => {
  const server = await serve(t);
  for (const [header, ms] of [["2", 2_000], ["86400", 60_000], ["-1", 0], ["Wed, 21 Oct 2026 07:28:00 GMT", 0]]) {
    server.resultFaults.push(fault(503, undefined, { "retry-after": header }));
    const { is, retryAfterMs } = await asked(server);
    assert.deepEqual([is, retryAfterMs], ["away", ms], header);
  }
});

test("server that is unreachable or sends no JSON counts as away", async (t) => {
  const server = await serve(t);
  server.resultFaults.push((response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>"));
  assert.equal((await asked(server)).is, "away");
  server.resultFaults.push((response) => response.destroy());
  assert.equal((await asked(server)).is, "away");
});

test("the stream opened for its status is closed", async (t) => {
  const server = await serve(t);
  await asked(server);
  const { until } = await import("./support.js");
  await until("the connection goes", () => server.open.size === 0);
});
