// A session of the official SDK of the Model Context Protocol: node mcp.mjs NODE_MODULES URL TOKEN DEPLOYMENT. Prints what it saw as one JSON object.
import { pathToFileURL } from "node:url";

const [packages, url, token, deploymentId] = process.argv.slice(2);
const sdk = (path) => import(pathToFileURL(`${packages}/@modelcontextprotocol/sdk/dist/esm/client/${path}`));
const { Client } = await sdk("index.js");
const { StreamableHTTPClientTransport } = await sdk("streamableHttp.js");

const connect = async (headers) => {
  const client = new Client({ name: "panda-test", version: "1.0.0" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return client;
};
const client = await connect({ authorization: `Bearer ${token}` });
// The client checks each answer against the tool's output schema.
const call = async (name, args) => (await client.callTool({ name, arguments: args })).structuredContent;

const { tools } = await client.listTools();
const listed = await call("list_deployments", {});
const result = await call("get_result", { deploymentId });
const failure = await call("explain_failure", { deploymentId });
const search = await call("search_log", { deploymentId, text: "LINE 117" });
let events = 0;
let newestSeq;
for (let next = { after: 0 }; next; ) {
  const page = await call("get_events", { deploymentId, limit: 50, ...next });
  events += page.data.events.length;
  newestSeq = page.data.newestSeq;
  next = page.next;
}
const report = await call("report", { name: "failures" });
const refused = await client.callTool({ name: "switch", arguments: { deploymentId, imageDigest: "sha256:a" } });
const unknown = await client.callTool({ name: "no_such_tool", arguments: {} }).catch((error) => ({ code: error.code }));
const anonymous = await connect({}).then(() => 200, (error) => error.code);
console.log(JSON.stringify({
  server: client.getServerVersion().name,
  tools: tools.map((tool) => tool.name),
  listed: listed.data.deployments.map((one) => one.deploymentId),
  status: result.data.status,
  cause: failure.data.cause,
  found: search.data.events,
  events,
  newestSeq,
  report: report.data.name,
  refused: refused.isError && refused.structuredContent.error.errorCode,
  unknown: unknown.code,
  anonymous,
}));
await client.close();
