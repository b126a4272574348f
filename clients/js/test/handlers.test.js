import assert from "node:assert/strict";
import test from "node:test";

import { EventSource } from "eventsource";

import { follow } from "../src/index.js";
import { serve, until, watch } from "./support.js";

test("throwing handler is reported, and the next event is delivered", async (t) => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => { delete globalThis.reportError; });
  const server = await serve(t);
  server.stage("one");
  server.stage("two");
  const seen = [];
  watch(t, server, { onStage: ({ message }) => { seen.push(message); throw new Error(`cannot show ${message}`); } });
  await until("both", () => seen.length === 2);
  assert.deepEqual([seen, reported], [["one", "two"], ["cannot show one", "cannot show two"]]);
});

test("no event after a handler that closes", async (t) => {
  const server = await serve(t);
  server.stage("one");
  server.stage("two");
  const seen = [];
  const { following } = watch(t, server, { onStage: ({ message }) => { seen.push(message); following.close(); } });
  await following.done;
  assert.deepEqual(seen, ["one"]);
});

test("invalid options are refused by name", () => {
  const server = "https://panda.example.com";
  for (const [name, id, options] of [
    ["deploymentId", "", { server, EventSource }],
    ["deploymentId", undefined, { server, EventSource }],
    ["EventSource", "dep_1", { server, EventSource: {} }],
    ["server", "dep_1", { server: "not an address", EventSource }],
    ["server", "dep_1", { EventSource }],
    ["waitingMs", "dep_1", { server, EventSource, waitingMs: 0 }],
    ["backoff.minMs", "dep_1", { server, EventSource, backoff: { minMs: Number.NaN } }],
    ["onStage", "dep_1", { server, EventSource, onStage: "log" }],
  ]) {
    assert.throws(() => follow(id, options), (error) => error instanceof TypeError && error.message.startsWith(name), name);
  }
});

test("deployment id stays within its path segment, and a server may have a path", async () => {
  const urls = [];
  class Recorder {
    constructor(url) { urls.push(url); }
    addEventListener() {}
    close() {}
  }
  const following = follow("../x?y#z", { server: "https://a.example/panda/", EventSource: Recorder, language: "en" });
  await Promise.resolve();
  following.close();
  assert.deepEqual(urls, ["https://a.example/panda/api/v1/deploy/..%2Fx%3Fy%23z/events?lang=en"]);
});
