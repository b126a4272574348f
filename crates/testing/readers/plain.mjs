// npm's EventSource as a front end without clients/js uses it: node plain.mjs URL
import { EventSource } from "../../../clients/js/node_modules/eventsource/dist/index.js";

const source = new EventSource(process.argv[2]);
for (const type of ["stage", "success", "fail"]) {
  source.addEventListener(type, ({ lastEventId, data }) => console.log(JSON.stringify({ id: lastEventId, event: type, data })));
}
source.addEventListener("error", (error) => {
  // Closed permanently: 204, or an answer that is no event stream.
  if (source.readyState === EventSource.CLOSED) process.exitCode = error.code === 204 ? 0 : 1;
});
