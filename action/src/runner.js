/** The runner's side of an action: inputs, outputs, state, summary and the commands in its output. */

import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";

/** An input by its name in action.yml; empty when absent. */
export function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
}

/** State of the main step, for the post step. */
export function state(name) {
  return process.env[`STATE_${name}`] ?? "";
}

export const setOutput = (name, value) => append("GITHUB_OUTPUT", name, value);

export const saveState = (name, value) => append("GITHUB_STATE", name, value);

/** The delimiter is random, so that no value can end its own entry. */
function append(file, name, value) {
  const delimiter = `end-${randomUUID()}`;
  if (process.env[file]) appendFileSync(process.env[file], `${name}<<${delimiter}\n${value ?? ""}\n${delimiter}\n`);
}

export function summarize(markdown) {
  if (process.env.GITHUB_STEP_SUMMARY) appendFileSync(process.env.GITHUB_STEP_SUMMARY, `${markdown}\n`);
}

/** Hides a secret in all output of the job. */
export function mask(secret) {
  command("add-mask", secret);
}

export const error = (text) => command("error", text, "title=Panda");

export const warning = (text) => command("warning", text, "title=Panda");

function command(name, text, properties = "") {
  const escaped = String(text).replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  process.stdout.write(`::${name}${properties && ` ${properties}`}::${escaped}\n`);
}

/**
 * Prints text from outside, such as a build's output: while it is printed, the runner obeys no commands, because a line of a build could be one.
 */
export function print(text) {
  const resume = randomUUID();
  // Control characters could rewrite the log.
  const lines = String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "").split("\n");
  process.stdout.write(`::stop-commands::${resume}\n${lines.join("\n")}\n::${resume}::\n`);
}

/** Text as one cell of a table in Markdown, without any formatting of its author. */
export function cell(text) {
  const line = String(text ?? "").replace(/\s+/g, " ").slice(0, 1000);
  return line.replace(/[\\`*_{}[\]()#+!|<>~&@]/g, (character) => `&#${character.codePointAt(0)};`);
}
