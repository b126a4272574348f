// A proxy before Panda as front ends build one from npm's packages, with compression: proxy.mjs PACKAGES KIND TARGET. Prints its port.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

const [packages, kind, target] = process.argv.slice(2);
const load = createRequire(`${packages}/`);
const compress = load("compression")();

const express = (server, proxy) => {
  const app = load(server)();
  app.use(compress);
  app.use("/", load(proxy).createProxyMiddleware({ target, changeOrigin: true, logLevel: "silent" }));
  return app;
};

// A route of a front end's own server, which sends the response of `fetch`.
const fetched = async (request, response) => {
  const ended = new AbortController();
  response.on("close", () => ended.abort());
  const { host, connection, "accept-encoding": _, ...headers } = request.headers;
  const answer = await fetch(target + request.url, { headers, signal: ended.signal });
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body) Readable.fromWeb(answer.body).on("error", () => response.destroy()).pipe(response);
  else response.end();
};

const kinds = {
  "express 4, http-proxy-middleware 2": () => express("express-4", "http-proxy-middleware-2"),
  "express 5, http-proxy-middleware 3": () => express("express", "http-proxy-middleware"),
  "http-proxy": () => {
    const proxy = load("http-proxy").createProxyServer({ target });
    proxy.on("error", (_error, _request, response) => response.destroy());
    return (request, response) => compress(request, response, () => proxy.web(request, response));
  },
  "fetch": () => (request, response) => compress(request, response, () => fetched(request, response).catch(() => response.destroy())),
};

const server = createServer(kinds[kind]()).listen(0, "127.0.0.1", () => console.log(`${server.address().port}`));
