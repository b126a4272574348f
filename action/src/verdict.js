/** The end of a deployment, as outputs, table and verdict. The verdict follows the traffic, not the wish. */

import { cell, setOutput, summarize } from "./runner.js";

/** Publishes the outputs of a deployment. */
export function setOutputs(panda, result) {
  const outputs = {
    "deployment-id": result.deploymentId,
    url: panda.page(result.deploymentId),
    status: result.status,
    traffic: result.finalService,
    "image-digest": result.imageDigest,
    "image-uri": result.imageUri,
    commit: result.commitSha,
    "blue-url": result.blueUrl,
    "green-url": result.greenUrl,
    "error-code": result.errorCode,
  };
  for (const [name, value] of Object.entries(outputs)) setOutput(name, value);
}

/** Decides over a followed deployment: `ok`, and a sentence that says where the traffic is. */
export function verdict(result, wasSwitched) {
  const { status, finalService, errorCode, errorMessage, greenWeight } = result;
  switch (status) {
    case "COMPLETED":
      // AWS may have taken the traffic back since.
      if (finalService === "blue") return { ok: false, text: "The deployment completed, but the traffic is on the version before." };
      return { ok: true, text: "The new version has the traffic." };
    case "DEPLOYMENT_READY":
      if (!wasSwitched) return { ok: true, text: "The new version is ready and awaits its switch. The version before has the traffic." };
      if (greenWeight != null) return { ok: false, text: `The rollout awaits another approval: ${greenWeight} % of the traffic is on the new version.` };
      return { ok: false, text: "The traffic was not switched: the version before has it. The events have the cause." };
    case "FAILED":
      return { ok: false, text: `${errorCode ?? "FAILED"}: ${errorMessage ?? "no reason is known"}\n${whereTheTrafficIs(result)}` };
    default:
      return { ok: true, text: "The deployment runs." };
  }
}

function whereTheTrafficIs({ finalService, trafficMovedAt, greenWeight }) {
  if (finalService === "green") return "The new version has the traffic.";
  if (finalService === "blue") return "The version before has the traffic.";
  if (greenWeight != null) return `Last seen, ${greenWeight} % of the traffic was on the new version.`;
  return trafficMovedAt ? "The new version had the traffic when it was last seen." : "No traffic was moved.";
}

/** Appends the table to the job's summary. */
export function writeSummary(panda, result, { ok, text }) {
  const [, day, time] = /^(.{10})T(.{8})/.exec(result.startedAt ?? "") ?? [];
  const code = (value) => value && `<code>${cell(value)}</code>`;
  const rows = [
    ["Repository", cell(`${result.owner}/${result.repo}`)],
    ["Deployment", `<a href="${panda.page(encodeURIComponent(result.deploymentId))}">${cell(result.deploymentId)}</a>`],
    ["Status", cell(result.status)],
    ["Traffic", cell(result.finalService)],
    ["Commit", code(result.commitSha)],
    ["Image", code(result.imageDigest)],
    ["New version", cell(result.greenUrl)],
    ["Version before", cell(result.blueUrl)],
    ["Started", day && `${day} ${time} UTC`],
    ["Duration", result.status === "RUNNING" ? "" : `${result.durationSeconds} s`],
    ["Error", code(result.errorCode)],
  ];
  const table = rows.filter(([, value]) => value).map(([name, value]) => `| ${name} | ${value} |`);
  summarize([`### ${ok ? "✅" : "❌"} Panda`, "", cell(text), "", "| | |", "| --- | --- |", ...table, ""].join("\n"));
}
