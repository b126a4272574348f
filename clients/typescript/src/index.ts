/** A client of Panda's API. */

export type { components, operations, paths } from "./api.js";
export { isTemporary, PandaError, type Problem } from "./error.js";
export { isOver, type DeploymentEvent, type FollowOptions } from "./follow.js";
export { Panda, unwrap, type Deploy, type Deployed, type DeployOptions, type PandaOptions, type Result } from "./panda.js";
