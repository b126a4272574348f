// Compiled and not run: the types are those of the code that front ends write.
import { EventSource as NodeEventSource } from "eventsource";
import { events, follow, FollowError, type DeploymentEvent, type End } from "@panda-deploy/events";

const following = follow("dep_1", {
  language: "en",
  onStage: ({ message, details }) => console.log(details.stage?.toFixed(), message.length),
  onSuccess: ({ message }) => console.log(message.length),
  onFail: ({ id }) => console.log(id.length),
  onConnection: ({ state }) => console.log(state === "away"),
});
following.resume();
const end: End = await following.done;
switch (end.reason) {
  case "finished": console.log(end.result.status === "COMPLETED"); break;
  case "refused": console.log(end.status, end.error.message); break;
  default: break;
}

follow("dep_1", { server: new URL("https://panda.example.com"), EventSource: NodeEventSource, signal: AbortSignal.timeout(1000) });
follow("dep_1", { EventSource });
follow("dep_1", { ticket: async (id) => `pandat_${id.length}` });

try {
  for await (const event of events("dep_1", { stopWhenReady: true })) {
    const told: DeploymentEvent = event;
    if (told.type === "stage") console.log(told.details);
    // @ts-expect-error: only a stage has details
    else console.log(told.details);
  }
} catch (error) {
  if (error instanceof FollowError) console.log(error.status);
}

// @ts-expect-error: there are two languages
follow("dep_1", { language: "fr" });
