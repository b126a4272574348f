// clients/js under Node: node follow.mjs SERVER DEPLOYMENT_ID LANGUAGE
import { follow } from "../../../clients/js/src/index.js";
import { EventSource } from "../../../clients/js/node_modules/eventsource/dist/index.js";

const [server, deploymentId, language] = process.argv.slice(2);
const take = ({ type: event, id, message, details }) => console.log(JSON.stringify({ id, event, message, details }));
const onConnection = ({ state }) => console.log(JSON.stringify({ state }));
const handlers = { onStage: take, onSuccess: take, onFail: take, onConnection };
const end = await follow(deploymentId, { server, language, EventSource, ...handlers }).done;
console.error(end);
process.exitCode = end.reason === "finished" ? 0 : 1;
