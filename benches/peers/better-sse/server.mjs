// One channel as in better-sse's documentation: GET joins it, POST broadcasts its body to all clients.
import { createServer } from "node:http";
import { createChannel, createSession } from "better-sse";

const channel = createChannel();
const server = createServer(async (request, response) => {
  if (request.method === "POST") {
    let body = "";
    for await (const part of request) body += part;
    channel.broadcast({ message: body }, "stage");
    response.end();
    return;
  }
  channel.register(await createSession(request, response));
});
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
