import assert from "node:assert/strict";
import test from "node:test";

import { follow } from "../src/index.js";
import { quick, serve, until, watch } from "./support.js";

/** A back end that requests tickets. */
function backEnd(server) {
  server.tickets = new Set();
  const made = [];
  const ticket = async (id) => {
    const one = `pandat_${id}_${made.length}`;
    made.push(one);
    server.tickets.add(one);
    return one;
  };
  return { made, ticket };
}

test("each request has a separate ticket, and so has each reconnection", async (t) => {
  const server = await serve(t);
  const { made, ticket } = backEnd(server);
  const { following, messages } = watch(t, server, { ticket });
  server.stage("one");
  await until("the first is delivered", () => messages().length === 1);
  server.hangUp();
  server.stage("two");
  await until("the second is delivered", () => messages().length === 2);
  server.status = "COMPLETED";
  server.tell("success", { message: "done" });
  const end = await following.done;
  assert.deepEqual([end.reason, messages()], ["finished", ["one", "two", "done"]]);
  assert.equal(new Set(made).size, made.length);
  assert.equal(server.tickets.size, 0, "none is got for nothing");
  assert.equal(server.refusals, 0, "none is used twice");
});

test("back end without a ticket counts as unreachable, and is retried", async (t) => {
  const server = await serve(t);
  const { ticket } = backEnd(server);
  let refusals = 3;
  const unwilling = async (id) => {
    refusals -= 1;
    if (refusals >= 0) throw new Error("no ticket today");
    return ticket(id);
  };
  const { following, states, messages } = watch(t, server, { ticket: unwilling });
  server.stage("one");
  await until("the event is delivered", () => messages().length === 1);
  assert.ok(states.includes("away"));
  following.close();
});

test("ended grant is refused", async (t) => {
  const server = await serve(t);
  server.tickets = new Set();
  const end = await follow("dep_1", quick(server, { ticket: () => "pandat_old" })).done;
  assert.deepEqual([end.reason, end.status, end.errorCode], ["refused", 401, "NOT_SIGNED_IN"]);
});

test("ticket option must be a function", () => {
  assert.throws(() => follow("dep_1", { server: "http://127.0.0.1:1", EventSource: Object, ticket: "pandat_x" }), /ticket/);
});
