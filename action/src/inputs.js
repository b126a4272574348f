/** Reads and checks the inputs; an error names the input and the remedy. */

import { input } from "./runner.js";

export class InputError extends Error {}

const SOURCES = ["branch", "tag", "commit", "image"];

export function readInputs() {
  const server = address("server");
  const repository = input("repository");
  const [owner, repo, ...rest] = repository.split("/");
  if (!owner || !repo || rest.length > 0) throw wrong("repository", repository, "give owner/name");
  return {
    server,
    token: input("token"),
    audience: input("audience") || server,
    owner,
    repo,
    githubConnection: id("github-connection", "gh_"),
    awsConnection: id("aws-connection", "aws_"),
    request: request(),
    overrideFreeze: input("override-freeze"),
    wait: flag("wait", true),
    doSwitch: flag("switch", false),
    cancelWithJob: flag("cancel-with-job", true),
    unreachableMs: seconds("unreachable-seconds", 300) * 1000,
    language: choice("language", ["en", "ko"]) || "en",
  };
}

/** The fields of the deploy request that do not depend on connections. */
function request() {
  const sources = SOURCES.filter((name) => input(name));
  if (sources.length > 1) throw new InputError(`the inputs ${sources.join(" and ")} exclude each other: give one of ${SOURCES.join(", ")}`);
  const [source] = sources;
  const value = source ? input(source) : (process.env.GITHUB_SHA ?? "");
  if (!value) throw new InputError(`there is no commit to deploy: give one of ${SOURCES.join(", ")}`);
  const fields = { [source ?? "commit"]: value };
  const build = json("build");
  const kind = choice("kind", ["planned", "hotfix", "rollback"]);
  const concurrency = choice("concurrency", ["reject", "queue", "supersede"]);
  const reason = input("reason");
  return { ...fields, ...(build && { build }), ...(kind && { kind }), ...(reason && { reason }), ...(concurrency && { concurrency }) };
}

/** The address of a server. Only this machine may be reached without TLS: the request carries a token. */
function address(name) {
  const text = input(name);
  let url;
  try {
    url = new URL(text);
  } catch {
    throw wrong(name, text, "give an address such as https://panda.example.com");
  }
  const isLoopback = url.hostname === "localhost" || url.hostname === "[::1]" || /^127(\.\d+){3}$/.test(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLoopback)) throw wrong(name, text, "give an address that begins with https://");
  if (url.username || url.password || url.search || url.hash) throw new InputError(`${name}: give the address alone, without user, password or query`);
  return url.href.replace(/\/+$/, "");
}

function id(name, prefix) {
  const text = input(name);
  if (text && !new RegExp(`^${prefix}[a-z0-9]{1,64}$`).test(text)) throw wrong(name, text, `give an id that begins with ${prefix}`);
  return text;
}

function flag(name, absent) {
  const text = input(name);
  if (!text) return absent;
  if (text !== "true" && text !== "false") throw wrong(name, text, "give true or false");
  return text === "true";
}

function choice(name, values) {
  const text = input(name);
  if (text && !values.includes(text)) throw wrong(name, text, `give ${values.join(", ")}`);
  return text;
}

function seconds(name, absent) {
  const text = input(name);
  if (!text) return absent;
  if (!/^\d{1,5}$/.test(text)) throw wrong(name, text, "give whole seconds, at most 99999");
  return Number(text);
}

function json(name) {
  const text = input(name);
  if (!text) return undefined;
  let value;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw wrong(name, text, `give a JSON object (${cause.message})`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw wrong(name, text, "give a JSON object");
  return value;
}

function wrong(name, value, remedy) {
  return new InputError(`${name}: \`${value.slice(0, 200)}\` is not valid: ${remedy}`);
}
