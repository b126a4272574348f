/** Runs the steps as the runner does: as processes with variables and files, against a server with scripted answers. tests/it/github_action runs them against a real Panda. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { cut, event, json, none, page, problem, Server, stream } from "../../clients/typescript/test/server.js";

const COMMIT = "9fceb02d0ae598e95dc970b74767f19372d61af8";
const DEPLOY = "/api/v1/deploy";
const RESULT = `${DEPLOY}/dep_1/result`;
const EVENTS = `${DEPLOY}/dep_1/events`;
const deployed = json({ deploymentId: "dep_1", message: "…", startedAt: "2026-01-31T09:30:00.123Z", status: "RUNNING" });
const result = (status, more) => json({ deploymentId: "dep_1", owner: "acme", repo: "shop", startedAt: "2026-01-31T09:30:00.123Z", durationSeconds: 7, status, ...more });
const connections = json({ github: [{ connectionId: "gh_1", owner: "acme", repo: "shop" }, { connectionId: "gh_2", owner: "acme", repo: "toys" }], aws: [{ connectionId: "aws_1" }] });

/** A runner with its files; `inputs` as in a workflow. */
function runner(t, server, inputs = {}) {
  const folder = mkdtempSync(join(tmpdir(), "runner-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name) => join(folder, name);
  for (const name of ["output", "summary", "state"]) writeFileSync(file(name), "");
  const all = { server: server.url, repository: "acme/shop", token: "panda_secret", "unreachable-seconds": "5", ...inputs };
  const variables = Object.fromEntries(Object.entries(all).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value]));
  const env = {
    PATH: process.env.PATH, GITHUB_SHA: COMMIT, GITHUB_OUTPUT: file("output"), GITHUB_STEP_SUMMARY: file("summary"), GITHUB_STATE: file("state"), ...variables,
  };
  const entries = (name) => Object.fromEntries([...readFileSync(file(name), "utf8").matchAll(/^(.+)<<(.+)\n([^]*?)\n\2$/gm)].map(([, key, , value]) => [key, value]));
  const run = (step, more = {}) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL(`../src/${step}.js`, import.meta.url))], { env: { ...env, ...more } });
    let output = "";
    child.stdout.on("data", (part) => { output += part; });
    child.stderr.on("data", (part) => { output += part; });
    t.after(() => child.kill("SIGKILL"));
    const ended = new Promise((resolve) => { child.on("close", (code) => resolve({ code, output })); });
    return { child, ended };
  };
  return {
    start: run,
    main: (more) => run("main", more).ended,
    /** The post step, with the state that the main step left. */
    post: () => run("post", Object.fromEntries(Object.entries(entries("state")).map(([name, value]) => [`STATE_${name}`, value]))).ended,
    outputs: () => entries("output"),
    state: () => entries("state"),
    summary: () => readFileSync(file("summary"), "utf8"),
  };
}

async function serving(t) {
  const server = await Server.start(t);
  server.script("/api/v1/connections", connections);
  server.script(DEPLOY, deployed);
  return server;
}

test("a ready deployment is a success, with outputs and a table", async (t) => {
  const server = await serving(t);
  server.script(RESULT, result("RUNNING"), result("DEPLOYMENT_READY", { imageDigest: "sha256:ab", greenUrl: "http://green", commitSha: COMMIT }));
  server.script(EVENTS, stream([event("a", "success", "ready")]), none);
  const action = runner(t, server, { kind: "hotfix", reason: "Prices\nwere wrong", build: '{"context":"api"}', "override-freeze": "urgent" });
  const { code, output } = await action.main();
  assert.equal(code, 0, output);
  const [request] = server.to(DEPLOY).filter(({ method }) => method === "POST");
  assert.deepEqual(JSON.parse(request.body), {
    githubConnectionId: "gh_1", awsConnectionId: "aws_1", owner: "acme", repo: "shop", commit: COMMIT, build: { context: "api" }, kind: "hotfix", reason: "Prices\nwere wrong",
    override: { reason: "urgent" },
  });
  const { "deployment-id": id, status, url, "image-digest": digest, "green-url": green, traffic, commit } = action.outputs();
  assert.deepEqual([id, status, url, digest, green, traffic, commit], ["dep_1", "DEPLOYMENT_READY", `${server.url}/deployments/dep_1`, "sha256:ab", "http://green", "", COMMIT]);
  assert.match(action.summary(), /### ✅ Panda\n\nThe new version is ready[^]*\| Image \| <code>sha256:ab<\/code> \|/);
  assert.equal((await action.post()).code, 0);
  assert.equal(server.to(`${DEPLOY}/dep_1/cancel`).length, 0, "the post step leaves an ended deployment alone");
});

test("the verdict follows the traffic", async (t) => {
  const cases = [
    [["COMPLETED", { finalService: "green" }], 0, /The new version has the traffic/],
    [["COMPLETED", { finalService: "blue" }], 1, /the traffic is on the version before/],
    [["FAILED", { errorCode: "ROLLED_BACK_AFTER_SWITCH", errorMessage: "alarm", finalService: "blue" }], 1, /ROLLED_BACK_AFTER_SWITCH: alarm%0AThe version before has the traffic/],
    [["FAILED", { errorCode: "BUILD_FAILED", errorMessage: "exit 9" }], 1, /BUILD_FAILED: exit 9%0ANo traffic was moved/],
    [["FAILED", { errorCode: "SWITCH_FAILED", errorMessage: "x", greenWeight: 10 }], 1, /10 %25 of the traffic was on the new version/],
  ];
  for (const [end, code, text] of cases) {
    const server = await serving(t);
    server.script(RESULT, result(...end));
    server.script(EVENTS, none);
    const action = runner(t, server);
    const ended = await action.main();
    assert.equal(ended.code, code, ended.output);
    assert.match(ended.output, text);
    assert.equal(action.outputs()["error-code"], end[1].errorCode ?? "");
    assert.ok(action.summary().startsWith(code === 0 ? "### ✅" : "### ❌"));
  }
});

test("a switch is bound to the followed image, and is no success while the traffic stays", async (t) => {
  const server = await serving(t);
  const ready = result("DEPLOYMENT_READY", { imageDigest: "sha256:ab" });
  server.script(RESULT, ready);
  server.script(EVENTS, none);
  server.script(`${DEPLOY}/dep_1/switch`, json({ deploymentId: "dep_1", switchStatus: "AWAITING_APPROVALS", missingApprovals: 1 }));
  const action = runner(t, server, { switch: "true" });
  const { code, output } = await action.main();
  assert.equal(code, 1);
  assert.match(output, /1 more are needed[^]*The traffic was not switched/);
  assert.deepEqual(JSON.parse(server.to(`${DEPLOY}/dep_1/switch`)[0].body), { imageDigest: "sha256:ab" });
});

test("a server that restarts costs nothing", async (t) => {
  const server = await serving(t);
  server.script(DEPLOY, cut, page(502), deployed);
  server.script(RESULT, result("RUNNING"), cut, page(200), result("RUNNING"), result("DEPLOYMENT_READY"));
  server.script(EVENTS, stream([event("a", "stage", "one"), "id: b\nevent"], "break"), problem(429, "TOO_MANY_STREAMS", { "retry-after": "1" }), stream([event("b", "stage", "two")]), none);
  const { code, output } = await runner(t, server).main();
  assert.equal(code, 0, output);
  assert.deepEqual(output.split("\n").filter((line) => ["one", "two"].includes(line)), ["one", "two"]);
  assert.equal(new Set(server.to(DEPLOY).filter(({ method }) => method === "POST").map(({ headers }) => headers["idempotency-key"])).size, 1);
});

test("an unreachable server fails the step, and cancels nothing", async (t) => {
  const server = await serving(t);
  server.script(RESULT, cut);
  const action = runner(t, server, { "unreachable-seconds": "1" });
  const { code, output } = await action.main();
  assert.equal(code, 1);
  assert.match(output, /::error title=Panda::fetch failed \(/);
  await action.post();
  assert.equal(server.to(`${DEPLOY}/dep_1/cancel`).length, 0);
});

test("a cancelled job cancels the deployment, and its table says where the traffic is", async (t) => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"]) {
    const server = await serving(t);
    server.script(RESULT, result("RUNNING"));
    server.script(EVENTS, stream([event("a", "stage", "one")], "open"));
    server.script(`${DEPLOY}/dep_1/cancel`, json({ deploymentId: "dep_1", cancelStatus: "IN_PROGRESS" }), problem(409, "DEPLOYMENT_CANCELLING"));
    const action = runner(t, server);
    const { child, ended } = action.start("main");
    await new Promise((resolve) => { child.stdout.on("data", (part) => { if (String(part).includes("one")) resolve(); }); });
    child.kill(signal);
    const { code, output } = await ended;
    assert.equal(code, signal === "SIGKILL" ? null : 1, output);
    server.script(RESULT, result("RUNNING"), result("FAILED", { errorCode: "CANCELLED", errorMessage: "cancelled" }));
    server.script(EVENTS, stream([event("b", "fail", "cancelled")]), none);
    const post = await action.post();
    assert.equal(post.code, 0, post.output);
    assert.equal(server.to(`${DEPLOY}/dep_1/cancel`).length, signal === "SIGKILL" ? 1 : 2);
    assert.match(action.summary(), /CANCELLED: cancelled No traffic was moved/);
    assert.equal(action.outputs().status, "FAILED");
  }
});

test("a job that is cancelled while its request is answered cancels that deployment, and one without an answer ends", async (t) => {
  const server = await serving(t);
  const action = runner(t, server);
  const main = action.start("main");
  server.script(DEPLOY, (response) => {
    main.child.kill("SIGINT");
    setTimeout(() => deployed(response), 100);
  });
  server.script(`${DEPLOY}/dep_1/cancel`, json({ deploymentId: "dep_1", cancelStatus: "IN_PROGRESS" }));
  assert.equal((await main.ended).code, 1);
  assert.equal(server.to(`${DEPLOY}/dep_1/cancel`).length, 1);
  assert.equal(action.state().id, "dep_1");

  const second = runner(t, server);
  const lost = second.start("main");
  server.script(DEPLOY, (response) => {
    lost.child.kill("SIGINT");
    cut(response);
  });
  assert.match((await lost.ended).output, /cancelled before Panda confirmed a deployment/);
});

test("a cancellation that comes too late reports the traffic on the new version", async (t) => {
  const server = await serving(t);
  server.script(`${DEPLOY}/dep_1/cancel`, problem(409, "ALREADY_FINISHED"));
  server.script(RESULT, result("COMPLETED", { finalService: "green" }));
  server.script(EVENTS, none);
  const action = runner(t, server);
  const { output } = await action.start("post", { STATE_id: "dep_1" }).ended;
  assert.match(output, /The new version has the traffic/);
});

test("a deployment may outlive its job", async (t) => {
  const server = await serving(t);
  server.script(RESULT, result("RUNNING"));
  server.script(EVENTS, stream([event("a", "stage", "one")], "open"));
  const action = runner(t, server, { "cancel-with-job": "false" });
  const { child, ended } = action.start("main");
  await new Promise((resolve) => { child.stdout.on("data", (part) => { if (String(part).includes("one")) resolve(); }); });
  child.kill("SIGINT");
  assert.match((await ended).output, /dep_1 continues/);
  await action.post();
  assert.equal(server.to(`${DEPLOY}/dep_1/cancel`).length, 0);
});

test("the output of a build is no command of the runner, and no formatting of the table", async (t) => {
  const server = await serving(t);
  const evil = "::set-env name=PATH::/evil\n::add-mask::a\u001b[2J ##[group]x";
  server.script(RESULT, result("RUNNING"), result("FAILED", { errorCode: "BUILD_FAILED", errorMessage: "| <img src=x> [a](b)\n::error::x" }));
  server.script(EVENTS, stream([event("a", "stage", evil), event("b", "fail", "no")]), none);
  const action = runner(t, server);
  const { output } = await action.main();
  // The runner obeys commands except between `::stop-commands::X` and `::X::`.
  let stopped;
  const obeyed = output.split("\n").filter((line) => {
    if (stopped) {
      if (line === `::${stopped}::`) stopped = undefined;
      return false;
    }
    stopped = /^::stop-commands::(.+)$/.exec(line)?.[1];
    return !stopped && /^\s*::|##\[/.test(line);
  });
  assert.equal(stopped, undefined, "commands are obeyed again");
  assert.deepEqual(obeyed.map((line) => line.split("::")[1]), ["add-mask", "error title=Panda"]);
  assert.ok(!output.includes("\u001b") && output.includes("/evil"));
  assert.ok(!/<img|\[a\]|\| \|$/.test(action.summary()), action.summary());
});

test("a token of GitHub is requested for the audience, masked, and requested again before it expires", async (t) => {
  const server = await serving(t);
  let count = 0;
  const jwt = (seconds) => `e.${Buffer.from(JSON.stringify({ exp: Date.now() / 1000 + seconds, n: ++count })).toString("base64url")}.s`;
  const value = (token) => (response) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ value: token }));
  const [first, second] = [jwt(30), jwt(600)];
  server.script("/idtoken", page(503), value(first), value(second));
  server.script(RESULT, result("DEPLOYMENT_READY"));
  server.script(EVENTS, none);
  const action = runner(t, server, { token: "", audience: "panda" });
  const { code, output } = await action.main({ ACTIONS_ID_TOKEN_REQUEST_URL: `${server.url}/idtoken?api-version=2`, ACTIONS_ID_TOKEN_REQUEST_TOKEN: "job-secret" });
  assert.equal(code, 0, output);
  const [asked] = server.to("/idtoken");
  assert.deepEqual([asked.url, asked.headers.authorization], ["/idtoken?api-version=2&audience=panda", "Bearer job-secret"]);
  const sent = server.to("/api/").map(({ headers }) => headers.authorization);
  assert.deepEqual(sent, [first, second, second, second].map((token) => `Bearer ${token}`));
  assert.ok(output.indexOf(`::add-mask::${first}`) === 0 && output.includes(`::add-mask::${second}`));
});

test("wrong inputs are named before anything is sent", async (t) => {
  const server = await serving(t);
  const wrong = [
    [{ server: "http://panda.example.com" }, "server: "], [{ server: "https://user:secret@panda.example.com" }, "server: "], [{ server: "" }, "server: "],
    [{ repository: "acme" }, "repository: "], [{ switch: "yes" }, "switch: "], [{ build: "{" }, "build: "], [{ build: "[]" }, "build: "], [{ concurrency: "fast" }, "concurrency: "],
    [{ branch: "a", tag: "b" }, "the inputs branch and tag "], [{ "aws-connection": "gh_1" }, "aws-connection: "], [{ "unreachable-seconds": "-1" }, "unreachable-seconds: "],
    [{ token: "" }, "token: is missing"],
  ];
  for (const [inputs, begin] of wrong) {
    const { code, output } = await runner(t, server, inputs).main();
    assert.equal(code, 1);
    assert.ok(output.startsWith(`::error title=Panda::${begin}`), output);
    assert.ok(!output.includes("user:secret"));
  }
  assert.equal(server.requests.length, 0);
});

test("connections must be clear, and refusals carry their code", async (t) => {
  const server = await serving(t);
  assert.match((await runner(t, server, { repository: "acme/unknown" }).main()).output, /github-connection: Panda has not connected acme\/unknown/);
  server.script("/api/v1/connections", json({ github: [], aws: [{ connectionId: "aws_1" }, { connectionId: "aws_2" }] }));
  assert.match((await runner(t, server, { "github-connection": "gh_1" }).main()).output, /2 connections fit. Give one of aws_1, aws_2/);
  server.script(DEPLOY, problem(409, "TARGET_TAKEN"));
  assert.match((await runner(t, server, { "github-connection": "gh_1", "aws-connection": "aws_1" }).main()).output, /::error title=Panda::TARGET_TAKEN: because/);
});

test("a redirect does not take the token elsewhere", async (t) => {
  const [server, other] = [await serving(t), await serving(t)];
  server.script("/api/v1/connections", (response) => response.writeHead(307, { location: `${other.url}/api/v1/connections` }).end());
  assert.equal((await runner(t, server, { "unreachable-seconds": "1" }).main()).code, 1);
  assert.equal(other.requests.length, 0);
});
