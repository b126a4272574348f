import { ServerError } from "./http.js";
import { print, warning } from "./runner.js";

/** Requests the cancellation. A deployment that has ended meanwhile is no error; a refusal is a warning. Returns true unless it was refused. */
export async function cancel(panda, id, limitMs) {
  try {
    await panda.call("POST", `/deploy/${encodeURIComponent(id)}/cancel`, { limitMs });
    print(`Cancelling ${id}`);
    return true;
  } catch (problem) {
    const hasEnded = problem instanceof ServerError && ["ALREADY_FINISHED", "DEPLOYMENT_CANCELLING"].includes(problem.errorCode);
    if (!hasEnded) warning(`${id} is not cancelled: ${problem.errorCode ?? ""} ${problem.message}`);
    return hasEnded;
  }
}
