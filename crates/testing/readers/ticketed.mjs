// clients/js in a page without a token: node ticketed.mjs SERVER DEPLOYMENT_ID TOKEN
// The function stands for the page's own back end, which has one.
import { follow } from "../../../clients/js/src/index.js";
import { EventSource } from "../../../clients/js/node_modules/eventsource/dist/index.js";

const [server, deploymentId, token] = process.argv.slice(2);
const ticket = async (id) => {
  const answer = await fetch(`${server}/api/v1/deploy/${id}/ticket`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Error(`no ticket: ${answer.status}`);
  return (await answer.json()).data.ticket;
};
const take = ({ type: event, id, message, details }) => console.log(JSON.stringify({ id, event, message, details }));
const handlers = { onStage: take, onSuccess: take, onFail: take };
const end = await follow(deploymentId, { server, ticket, EventSource, ...handlers }).done;
console.error(end);
process.exitCode = end.reason === "finished" ? 0 : 1;
