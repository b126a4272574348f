import { InputError } from "./inputs.js";

/** The two connections of a request: those of the inputs, else the only ones that fit. */
export async function connections(panda, { owner, repo, githubConnection, awsConnection }, signal) {
  if (githubConnection && awsConnection) return { githubConnectionId: githubConnection, awsConnectionId: awsConnection };
  const { github, aws } = await panda.call("GET", "/connections", { signal });
  const ofRepository = github.filter((one) => one.owner.toLowerCase() === owner.toLowerCase() && one.repo.toLowerCase() === repo.toLowerCase());
  return {
    githubConnectionId: githubConnection || only(ofRepository, "github-connection", `${owner}/${repo} as a repository`),
    awsConnectionId: awsConnection || only(aws, "aws-connection", "an AWS account"),
  };
}

function only(candidates, name, what) {
  if (candidates.length === 1) return candidates[0].connectionId;
  if (candidates.length === 0) throw new InputError(`${name}: Panda has not connected ${what}, or the token may not see it. Connect it first`);
  throw new InputError(`${name}: ${candidates.length} connections fit. Give one of ${candidates.map((one) => one.connectionId).join(", ")}`);
}
