// Groups of a log: one for each stage, and within it one for each step of the build. Running and failed groups are open, the others folded, until the
// reader opens or folds one.
import { Run } from "./blocks.js";
import { Group } from "./group.js";
import { rows } from "./lines.js";
import { t } from "../page.js";

/** @typedef {import("./lines.js").LogEvent} LogEvent @typedef {import("./lines.js").Line} Line @typedef {import("./group.js").State} State */

/** @type {Record<string, string>} */
const STAGES = {
  "Step 1": t("log_step_1"), "Step 2": t("log_step_2"), "Stage 1": t("log_stage_1"), "Stage 2": t("log_stage_2"), "Stage 3": t("log_stage_3"), "Stage 4": t("log_stage_4"),
};

export class Groups {
  /** @type {Group[]} */
  items = [];
  /** Longest row, for the width of the document. */
  longest = 0;
  attempt = 1;
  /** Groups of the present attempt, by stage or build step. @type {Map<string, Group>} */
  #known = new Map();
  /** @type {Group | undefined} */
  #stage;
  /** @type {Group | undefined} */
  #step;

  /**
   * @param {import("./blocks.js").Blocks} blocks
   * @param {HTMLElement} container
   * @param {string} buildPrefix
   * @param {(group: Group) => boolean} stays tells whether a group that ends now is left open
   */
  constructor(blocks, container, buildPrefix, stays) {
    this.blocks = blocks;
    this.container = container;
    this.buildPrefix = buildPrefix;
    this.stays = stays;
  }

  /** Adds an event. @param {LogEvent} event @param {number} n @returns {Line[]} */
  add(event, n) {
    const lines = rows(event, n, this.buildPrefix);
    const group = this.#groupOf(event, lines[0]);
    const { run } = group;
    for (const line of lines) {
      run.add(line);
      this.longest = Math.max(this.longest, line.text.length);
    }
    if (event.type !== "stage") this.#end(event.type === "fail" ? "failed" : "done", lines[0].at);
    return lines;
  }

  /** @param {LogEvent} event @param {Line} line @returns {Group} */
  #groupOf(event, line) {
    const attempt = event.attempt ?? (typeof event.details?.attempt === "number" ? event.details.attempt : this.attempt);
    if (attempt !== this.attempt) {
      this.attempt = attempt;
      this.#known.clear();
    }
    if (line.kind === "output") return this.#outputGroup(event, line);
    const name = /^\[((?:Step|Stage) \d)\]/.exec(event.message)?.[1] ?? (event.details?.stage ? `Stage ${event.details.stage}` : undefined);
    if (event.type !== "stage") return this.#stage ?? this.#stageGroup("Stage 1", line.at);
    return this.#stageGroup(name ?? "Stage 1", line.at);
  }

  /** @param {string} name @param {number} at */
  #stageGroup(name, at) {
    let group = this.#known.get(name);
    if (group && group === this.#stage && group.state === "running") return group;
    this.#endStep("done", at);
    if (this.#stage?.state === "running") this.#stage.end("done", at);
    const title = STAGES[name] ?? name;
    if (!group) this.#known.set(name, (group = new Group(this, undefined, this.attempt > 1 ? `${title} · ${t("log_attempt", { n: this.attempt })}` : title, at)));
    group.state = "running";
    group.durationMs = undefined;
    group.show();
    this.#stage = group;
    return group;
  }

  /** The group of a line of output: BuildKit's step by its number, the classic builder's by its instruction. @param {LogEvent} event @param {Line} line */
  #outputGroup(event, line) {
    const stage = this.#stageGroup("Stage 1", line.at);
    const details = event.details ?? {};
    const classic = details.step === undefined ? /^Step \d+\/\d+ : (.*)/.exec(line.text)?.[0] : undefined;
    const key = details.step === undefined ? classic : `step ${details.step}`;
    if (key === undefined) return this.#step?.state === "running" ? this.#step : stage;
    let group = this.#known.get(key);
    if (!group) {
      if (classic) this.#endStep("done", line.at);
      const title = typeof details.name === "string" ? details.name : line.text;
      this.#known.set(key, (group = new Group(this, stage, title, line.at)));
    }
    if (classic) this.#step = group;
    if (typeof details.durationMs === "number") {
      if (typeof details.name === "string") group.title = details.name;
      group.isCached = details.cached === true;
      const isCancelled = typeof details.error === "string" && details.error.endsWith("context canceled");
      group.end(details.error !== undefined && !isCancelled ? "failed" : "done", line.at, details.durationMs);
    }
    return group;
  }

  /** @param {State} state @param {number} at */
  #endStep(state, at) {
    if (this.#step?.state === "running") this.#step.end(state, at);
    this.#step = undefined;
  }

  /** @param {State} state @param {number} at */
  #end(state, at) {
    const stage = this.#stage;
    if (!stage) return;
    this.#endStep(state, at);
    const steps = stage.items.filter((item) => item instanceof Group);
    // Steps without a result were stopped because another one failed; without another one, they failed.
    const rest = steps.some((step) => step.state === "failed") ? "done" : state;
    for (const step of steps) if (step.state === "running") step.end(rest, at);
    stage.end(state, at);
  }

  /** Counts on the durations of running groups. */
  tick() {
    for (const group of this.all()) if (group.state === "running") group.showDuration();
  }

  /** All groups, in the order of the document. @param {(Run | Group)[]} [items] @returns {Generator<Group>} */
  *all(items = this.items) {
    for (const item of items) {
      if (!(item instanceof Group)) continue;
      yield item;
      yield* this.all(item.items);
    }
  }

  /** All runs, in the order of the document. @param {(Run | Group)[]} [items] @returns {Generator<Run>} */
  *runs(items = this.items) {
    for (const item of items) {
      if (item instanceof Run) yield item;
      else yield* this.runs(item.items);
    }
  }
}
