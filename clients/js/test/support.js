import { EventSource } from "eventsource";

import { follow } from "../src/index.js";
import { Server } from "./server.js";

/** Options with short times and npm's EventSource. */
export const quick = (server, more = {}) => ({
  server: server.url, EventSource, backoff: { minMs: 5, maxMs: 50 }, waitingMs: 20, ...more,
});

/** Starts a server that stops after the test. */
export async function serve(t) {
  const server = await Server.start();
  t.after(() => server.stop());
  return server;
}

/** Follows `dep_1` and keeps its events. */
export function watch(t, server, more = {}) {
  const delivered = [];
  const states = [];
  const take = (event) => delivered.push(event);
  const onConnection = ({ state }) => states.push(state);
  const following = follow("dep_1", quick(server, { onStage: take, onSuccess: take, onFail: take, onConnection, ...more }));
  t.after(() => following.close());
  return { following, delivered, states, messages: () => delivered.map(({ message }) => message) };
}

/** Waits until `look` is true. */
export async function until(what, look) {
  const deadline = Date.now() + 30_000;
  while (!look()) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 2); });
  }
}
