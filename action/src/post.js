/** The action's post step, which also runs in a cancelled job: cancels the deployment that the main step could not follow to its end, and reports where the traffic is. */

import { cancel } from "./cancel.js";
import { readInputs } from "./inputs.js";
import { Panda } from "./panda.js";
import { pause } from "./retry.js";
import { print, state, warning } from "./runner.js";
import { tokenSource } from "./token.js";
import { setOutputs, verdict, writeSummary } from "./verdict.js";

/** Time for the cancellation; GitHub ends the steps of a cancelled job after five minutes. */
const LIMIT_MS = 240_000;

async function post() {
  const id = state("id");
  if (!id || state("ended")) return;
  const inputs = readInputs();
  if (!inputs.cancelWithJob) return;
  const panda = new Panda({ ...inputs, unreachableMs: Math.min(inputs.unreachableMs, LIMIT_MS / 2) }, tokenSource(inputs));
  if (!(await cancel(panda, id, LIMIT_MS / 2))) return;
  const signal = AbortSignal.timeout(LIMIT_MS);
  let { result } = await panda.follow(id, { signal });
  while (result.status === "DEPLOYMENT_READY") {
    // Its cancellation has not begun.
    await pause(500, signal);
    ({ result } = await panda.follow(id, { signal }));
  }
  const end = verdict(result, true);
  setOutputs(panda, result);
  writeSummary(panda, result, end);
  print(end.text);
}

post().catch((problem) => warning(`the end of the deployment is not known: ${problem.message}`)).finally(() => process.exit());
