import { follow } from "./follow.js";

/** Why an iteration could not go on. */
export class FollowError extends Error {
  constructor(end) {
    super(end.error.message, { cause: end.error });
    this.name = "FollowError";
    this.reason = end.reason;
    this.status = end.status;
    this.errorCode = end.errorCode;
  }
}

/** @type {typeof import("./index.d.ts").events} */
export async function* events(deploymentId, options = {}) {
  const told = [];
  let wake = () => {};
  let end;
  const take = (event) => {
    told.push(event);
    wake();
  };
  const following = follow(deploymentId, { ...options, onStage: take, onSuccess: take, onFail: take });
  following.done.then((how) => {
    end = how;
    wake();
  });
  try {
    for (;;) {
      while (told.length > 0) yield told.shift();
      if (end) break;
      await new Promise((resolve) => { wake = resolve; });
    }
    if (end.error) throw new FollowError(end);
  } finally {
    // The loop was left: nobody reads on.
    following.close();
  }
}
