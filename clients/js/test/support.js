import { EventSource } from "eventsource";

import { follow } from "../src/index.js";
import { Server } from "./server.js";

/** Short times, and the EventSource of npm. */
export const quick = (server, more = {}) => ({
  server: server.url, EventSource, backoff: { minMs: 5, maxMs: 50 }, waitingMs: 20, ...more,
});

/** A server that is stopped after the test. */
export async function serve(t) {
  const server = await Server.start();
  t.after(() => server.stop());
  return server;
}

/** Follows `dep_1` and keeps what is told. */
export function watch(t, server, more = {}) {
  const told = [];
  const states = [];
  const take = (event) => told.push(event);
  const onConnection = ({ state }) => states.push(state);
  const following = follow("dep_1", quick(server, { onStage: take, onSuccess: take, onFail: take, onConnection, ...more }));
  t.after(() => following.close());
  return { following, told, states, messages: () => told.map(({ message }) => message) };
}

/** Waits until `look` is true. */
export async function until(what, look) {
  const deadline = Date.now() + 30_000;
  while (!look()) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 2); });
  }
}
