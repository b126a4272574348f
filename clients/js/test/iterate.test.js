import assert from "node:assert/strict";
import test from "node:test";

import { events, FollowError } from "../src/index.js";
import { quick, serve, until } from "./support.js";

test("an iteration has all events and ends with the deployment", async (t) => {
  const server = await serve(t);
  for (let n = 0; n < 100; n += 1) server.stage(`m${n}`);
  server.tell("success", { message: "done" });
  server.status = "COMPLETED";
  const seen = [];
  for await (const { message } of events("dep_1", quick(server))) seen.push(message);
  assert.deepEqual(seen, [...Array.from({ length: 100 }, (_, n) => `m${n}`), "done"]);
});

test("leaving the loop closes the connection", async (t) => {
  const server = await serve(t);
  server.stage("one");
  for await (const { type } of events("dep_1", quick(server))) {
    assert.equal(type, "stage");
    break;
  }
  await until("the connection goes", () => server.open.size === 0);
});

test("refusal is thrown, with the server's code", async (t) => {
  const server = await serve(t);
  const all = async () => { for await (const event of events("dep_2", quick(server))) assert.fail(event.type); };
  await assert.rejects(all, (error) => {
    assert.ok(error instanceof FollowError);
    assert.deepEqual([error.reason, error.status, error.errorCode], ["refused", 404, "DEPLOYMENT_NOT_FOUND"]);
    return true;
  });
});

test("an aborted iteration ends without an error", async (t) => {
  const server = await serve(t);
  server.stage("one");
  const abort = new AbortController();
  const seen = [];
  for await (const { message } of events("dep_1", quick(server, { signal: abort.signal }))) {
    seen.push(message);
    abort.abort();
  }
  assert.deepEqual(seen, ["one"]);
});
