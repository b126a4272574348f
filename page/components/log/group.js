// A group of rows: a header with its state and duration, which opens and folds it, and its rows and groups.
import { Run } from "./blocks.js";
import { duration } from "../local-time.js";
import { t } from "../page.js";

/** @typedef {"running" | "done" | "failed"} State @typedef {import("./groups.js").Groups} Groups */

/** @type {Record<State, string>} */
const STATES = { running: t("log_running"), done: t("log_done"), failed: t("log_failed") };

export class Group {
  /** @type {(Run | Group)[]} */
  items = [];
  state = /** @type {State} */ ("running");
  count = 0;
  /** The reader's choice. @type {boolean | undefined} */
  chosen;
  /** @type {number | undefined} */
  durationMs;
  isCached = false;

  /** @param {Groups} owner @param {Group | undefined} parent @param {string} title @param {number} at */
  constructor(owner, parent, title, at) {
    this.owner = owner;
    this.parent = parent;
    this.startedAt = at;
    this.element = document.createElement("div");
    this.element.className = parent ? "group step" : "group stage";
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "group-head";
    this.parts = ["dot", "name", "state", "cached", "duration"].map((name) => {
      const part = document.createElement("span");
      part.className = name;
      return part;
    });
    this.parts[0].setAttribute("aria-hidden", "true");
    this.button.append(...this.parts);
    this.body = document.createElement("div");
    this.body.className = "group-body";
    this.element.append(this.button, this.body);
    this.button.addEventListener("click", () => {
      this.chosen = !this.isOpen;
      this.show();
    });
    this.title = title;
    (parent?.body ?? owner.container).append(this.element);
    (parent?.items ?? owner.items).push(this);
    this.show();
  }

  get isOpen() {
    return this.chosen ?? this.state !== "done";
  }

  /** The run at the end, for the next row. */
  get run() {
    const last = this.items.at(-1);
    if (last instanceof Run) return last;
    const run = new Run(this.owner.blocks, this.body, this);
    this.items.push(run);
    return run;
  }

  show() {
    const [, name, state, cached, time] = this.parts;
    set(name, this.title);
    set(state, STATES[this.state]);
    set(cached, this.isCached ? t("log_cached") : "");
    this.showDuration();
    this.element.dataset.state = this.state;
    this.button.setAttribute("aria-expanded", String(this.isOpen));
    this.body.hidden = !this.isOpen;
    time.hidden = false;
  }

  showDuration() {
    const ms = this.durationMs ?? Date.now() - this.startedAt;
    set(this.parts[4], ms < 10_000 ? t("unit_s", { n: (Math.max(0, ms) / 1000).toFixed(1) }) : duration(ms));
  }

  /** @param {State} state @param {number} at @param {number} [durationMs] */
  end(state, at, durationMs) {
    if (state === "done" && this.isOpen && this.owner.stays(this)) this.chosen = true;
    this.state = state;
    this.durationMs = durationMs ?? at - this.startedAt;
    this.show();
  }

  open() {
    this.parent?.open();
    if (this.isOpen) return;
    this.chosen = true;
    this.show();
  }
}

/** @param {HTMLElement} element @param {string} text */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
