/**
 * Follows deployments of Panda. Types and documentation of all that is exported are in index.d.ts.
 */

export { follow } from "./follow.js";
export { events, FollowError } from "./iterate.js";
