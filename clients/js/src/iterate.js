import { follow } from "./follow.js";

/** The reason for the end of an iteration. */
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
  const queued = [];
  let wake = () => {};
  let end;
  const take = (event) => {
    queued.push(event);
    wake();
  };
  const following = follow(deploymentId, { ...options, onStage: take, onSuccess: take, onFail: take });
  following.done.then((how) => {
    end = how;
    wake();
  });
  try {
    for (;;) {
      while (queued.length > 0) yield queued.shift();
      if (end) break;
      await new Promise((resolve) => { wake = resolve; });
    }
    if (end.error) throw new FollowError(end);
  } finally {
    // The caller left the loop.
    following.close();
  }
}
