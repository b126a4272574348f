/**
 * Deploys a connected repository, follows it until it is ready, switches the traffic and follows that.
 *
 *   PANDA_SERVER=https://panda.example.com PANDA_TOKEN=… node build/deploy.js acme/shop
 */
import { Panda, PandaError, unwrap, type DeploymentEvent } from "@panda-deploy/client";

const { PANDA_SERVER: server = "http://127.0.0.1:8080", PANDA_TOKEN: token = "" } = process.env;
const [owner = "", repo = ""] = (process.argv[2] ?? "").split("/");
const panda = new Panda({ server, token, language: "en" });
const onEvent = ({ message }: DeploymentEvent): void => console.log(message);

try {
  const { github, aws } = unwrap(await panda.api.GET("/api/v1/connections"));
  const source = github.find((one) => one.owner === owner && one.repo === repo);
  const [account] = aws;
  if (!source || !account) throw new Error(`${owner}/${repo} or an account is not connected`);

  const connections = { githubConnectionId: source.connectionId, awsConnectionId: account.connectionId };
  const { deploymentId } = await panda.deploy({ ...connections, owner, repo, branch: source.branch });
  const ready = await panda.wait(deploymentId, { language: "en", onEvent });
  if (ready.status !== "DEPLOYMENT_READY") throw new Error(`${ready.errorCode}: ${ready.errorMessage}`);

  // Only if the image that was looked at is the one that is ready.
  const imageDigest = ready.imageDigest ?? null;
  unwrap(await panda.api.POST("/api/v1/deploy/{id}/switch", { params: { path: { id: deploymentId } }, body: { imageDigest } }));
  const { status, finalService } = await panda.wait(deploymentId, { language: "en", until: "finished" });
  console.log(`${deploymentId} ${status} ${finalService} ${imageDigest}`);
} catch (error) {
  // A refusal has a stable code, and a text with the remedy.
  console.error(error instanceof PandaError ? `${error.errorCode}: ${error.message}` : error);
  process.exitCode = 1;
}
