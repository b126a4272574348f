/**
 * The action's main step: starts a deployment and follows it.
 *
 * The id is stored for the post step as soon as it is known, so that a cancelled job cancels the deployment whichever process the runner ends. When the runner's machine is
 * lost, Panda continues: the deployment ends as without the action.
 */

import { randomUUID } from "node:crypto";

import { cancel } from "./cancel.js";
import { connections } from "./connections.js";
import { readInputs } from "./inputs.js";
import { Panda } from "./panda.js";
import { error, print, saveState, setOutput } from "./runner.js";
import { tokenSource } from "./token.js";
import { setOutputs, verdict, writeSummary } from "./verdict.js";

class JobCancelled extends Error {}

const job = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => job.abort(new JobCancelled(signal)));

async function main() {
  const inputs = readInputs();
  const panda = new Panda(inputs, tokenSource(inputs));
  const { signal } = job;
  const body = { ...(await connections(panda, inputs, signal)), ...inputs.request, owner: inputs.owner, repo: inputs.repo };
  if (inputs.overrideFreeze) body.override = { reason: inputs.overrideFreeze };
  // Without the response the deployment could not be cancelled.
  const { deploymentId: id, heldBy } = await panda.call("POST", "/deploy", { body, key: randomUUID(), signal, whole: true });
  saveState("id", id);
  setOutput("deployment-id", id);
  setOutput("url", panda.page(id));
  print(`Deployment ${id}: ${panda.page(id)}`);
  if (heldBy) print(`Its start is held (${heldBy.cause}) until ${heldBy.until ?? "an unknown time"}: ${heldBy.reason ?? ""}`);
  if (!inputs.wait && !inputs.doSwitch) {
    saveState("ended", "true");
    return conclude(panda, await panda.result(id), false);
  }
  try {
    await followed(panda, inputs, id, signal);
  } catch (problem) {
    if (!(problem instanceof JobCancelled)) throw problem;
    await cancelled(panda, inputs, id);
  }
}

async function followed(panda, { doSwitch, overrideFreeze }, id, signal) {
  const onEvent = ({ message }) => print(message);
  const reached = await panda.follow(id, { onEvent, signal });
  let { result } = reached;
  if (doSwitch && result.status === "DEPLOYMENT_READY") {
    // Exactly the image that was followed.
    const body = { imageDigest: result.imageDigest, ...(overrideFreeze && { override: { reason: overrideFreeze } }) };
    const { missingApprovals } = await panda.call("POST", `/deploy/${encodeURIComponent(id)}/switch`, { body, key: randomUUID(), signal, whole: true });
    if (missingApprovals) print(`The approval is recorded; ${missingApprovals} more are needed.`);
    ({ result } = await panda.follow(id, { lastEventId: reached.lastEventId, onEvent, signal }));
  }
  saveState("ended", "true");
  conclude(panda, result, doSwitch);
}

function conclude(panda, result, wasSwitched) {
  const end = verdict(result, wasSwitched);
  setOutputs(panda, result);
  writeSummary(panda, result, end);
  if (end.ok) return print(end.text);
  fail(end.text);
}

/** The runner ends this process some seconds after its signal; the post step follows the cancellation to its end. */
async function cancelled(panda, { cancelWithJob }, id) {
  if (cancelWithJob) await cancel(panda, id, 5_000);
  fail(cancelWithJob ? "The job was cancelled." : `The job was cancelled; the deployment ${id} continues.`);
}

function fail(text) {
  error(text);
  process.exitCode = 1;
}

main().catch((problem) => {
  if (problem instanceof JobCancelled) return fail("The job was cancelled before Panda confirmed a deployment.");
  // The action fails, and the deployment continues: only a cancelled job cancels it.
  saveState("ended", "true");
  const code = problem.errorCode ? `${problem.errorCode}: ` : "";
  fail(`${code}${problem.cause ? `${problem.message} (${problem.cause.message ?? problem.cause})` : problem.message}`);
}).finally(() => process.exit());
