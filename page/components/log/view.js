// The log of a deployment: complete when opened, then live. `data-deployment` is its id; the content is the server's, until the log is complete.
import { Blocks } from "./blocks.js";
import { copied } from "./copy.js";
import { Follow } from "./follow.js";
import { Groups } from "./groups.js";
import { Links } from "./links.js";
import { rangeOf, Search } from "./search.js";
import { LogSource } from "./source.js";
import { toolbar } from "./toolbar.js";
import { t } from "../page.js";

/** @typedef {import("./lines.js").LogEvent} LogEvent @typedef {import("./lines.js").Line} Line */

class LogView extends HTMLElement {
  #n = 0;
  #isComplete = false;
  /** Rows by their numbers. @type {Map<number, Line>} */
  #lines = new Map();
  /** @type {LogEvent[]} */
  #waiting = [];
  /** @type {LogSource | undefined} */
  #source;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #clock;

  connectedCallback() {
    if (this.#source) return;
    const scroller = document.createElement("div");
    scroller.className = "log-lines";
    scroller.tabIndex = 0;
    scroller.setAttribute("role", "region");
    scroller.setAttribute("aria-label", t("log_lines"));
    const content = document.createElement("div");
    content.className = "log-content";
    scroller.append(content);
    this.scroller = scroller;
    this.content = content;
    this.blocks = new Blocks(scroller);
    this.groups = new Groups(this.blocks, content, this.dataset.buildPrefix ?? "\n", (group) => this.#stays(group.element));
    this.follow = new Follow(scroller, (isOn) => this.bar?.follow.setAttribute("aria-pressed", String(isOn)));
    this.links = new Links(scroller, (n) => this.#showNumber(n));
    this.search = new Search(this.groups, scroller, () => this.#count());
    this.blocks.decorate = (row, line) => this.links?.decorate(row, line.n);
    this.blocks.filled = () => this.search?.mark();
    this.bar = toolbar({
      file: this.dataset.file ?? "",
      search: (text) => this.search?.set(text),
      move: (by) => this.#move(by),
      line: (from, to) => { this.links?.set(from, to); this.#showNumber(from); },
      follow: () => this.follow?.set(!this.follow.isOn),
      times: (isOn) => this.classList.toggle("with-times", isOn),
      wrap: (isOn) => this.#wrap(isOn),
      groups: (isOpen) => this.#openAll(isOpen),
    });
    scroller.addEventListener("copy", (event) => copied(event, /** @type {Groups} */ (this.groups)));
    this.#source = new LogSource(this.dataset.deployment ?? "", (events) => this.#take(events), () => this.#complete());
    this.#clock = setInterval(() => this.groups?.tick(), 1000);
  }

  /** Number of rows. */
  get count() {
    return this.texts.length;
  }

  /** The texts of all rows, by their numbers. */
  get texts() {
    return [...this.#lines.values()].map((line) => line.text);
  }

  /** The text of the newest row. */
  get lastText() {
    return this.#lines.get(this.#n)?.text;
  }

  disconnectedCallback() {
    this.#source?.close();
    this.#source = undefined;
    clearInterval(this.#clock);
  }

  /** @param {LogEvent[]} events */
  #take(events) {
    if (!this.#isComplete) {
      for (const event of events) this.#add(event);
      return;
    }
    // Live events are shown once a frame; a hidden tab has no frames.
    if (this.#waiting.length === 0) (document.hidden ? setTimeout : requestAnimationFrame)(() => this.#showWaiting());
    this.#waiting.push(...events);
  }

  #showWaiting() {
    for (const event of this.#waiting.splice(0)) this.#add(event);
    this.blocks?.flush();
    this.#widen();
    this.search?.added();
    this.follow?.toEnd();
  }

  /** @param {LogEvent} event */
  #add(event) {
    this.#n = event.seq ?? this.#n + 1;
    const lines = /** @type {Groups} */ (this.groups).add(event, this.#n);
    this.#lines.set(this.#n, lines[0]);
  }

  /** Replaces the server's lines by the complete log. */
  #complete() {
    const { bar, scroller, blocks, follow, links } = this;
    if (!bar || !scroller || !blocks || !follow || !links) return;
    this.#isComplete = true;
    blocks.flush();
    this.#widen();
    this.replaceChildren(bar.bar, scroller);
    this.#wrap(this.classList.contains("with-wrap"));
    links.read();
    const isRunning = [...(this.groups?.all() ?? [])].some((group) => group.state === "running");
    if (!links.isSet && (isRunning || this.#n === 0)) follow.set(true);
    // The cause of a failure is at the end.
    else if (!links.isSet && scroller.querySelector(".group.stage:last-child[data-state=failed]")) scroller.scrollTop = scroller.scrollHeight;
    this.dataset.complete = "";
    // Measured by `make bench-page`: the rows are in the document.
    scroller.getBoundingClientRect();
    performance.mark("panda:log");
  }

  /** As wide as the longest row, so that the width does not change with the blocks that have elements. */
  #widen() {
    if (this.content && this.groups) this.content.style.minWidth = `calc(${Math.min(this.groups.longest, 20_000)}ch + 140px)`;
  }

  /** A group that ends stays open while the reader reads or selects. @param {HTMLElement} group */
  #stays(group) {
    const selection = getSelection();
    const isSelected = selection && !selection.isCollapsed && selection.containsNode(group, true);
    return this.#isComplete && (!this.follow?.isOn || isSelected === true);
  }

  /** @param {boolean} isOn */
  #wrap(isOn) {
    this.classList.toggle("with-wrap", isOn);
    if (!this.#isComplete || !this.groups) return;
    this.blocks?.setWrap(this.groups.runs(), isOn);
    this.follow?.toEnd();
  }

  /** @param {boolean} isOpen */
  #openAll(isOpen) {
    for (const group of this.groups?.all() ?? []) {
      group.chosen = isOpen;
      group.show();
    }
    this.follow?.toEnd();
  }

  /** @param {1 | -1} by */
  #move(by) {
    const match = this.search?.move(by);
    if (!match) return;
    const row = this.#show(match.line);
    const range = row && rangeOf(row, match.from, match.to);
    if (range && this.scroller && !this.classList.contains("with-wrap")) {
      const [place, frame] = [range.getBoundingClientRect(), this.scroller.getBoundingClientRect()];
      if (place.left < frame.left + 140 || place.right > frame.right) this.scroller.scrollLeft += place.left - frame.left - frame.width / 2;
    }
    this.search?.mark();
  }

  #count() {
    const { bar, search } = this;
    if (!bar || !search) return;
    const text = bar.bar.querySelector("input")?.value;
    bar.count.textContent = !text ? "" : search.at < 0 ? t("log_found", { n: search.matches.length }) : t("log_at", { at: search.at + 1, n: search.matches.length });
  }

  /** @param {number} n */
  #showNumber(n) {
    const line = this.#lines.get(n);
    if (line) this.#show(line);
  }

  /** Opens the groups of a row, and scrolls to it. @param {Line} line */
  #show(line) {
    const { run } = line;
    const { scroller } = this;
    if (!run || !scroller) return undefined;
    this.follow?.set(false);
    run.group.open();
    const row = run.rowAt(run.lines.indexOf(line));
    const centre = () => { scroller.scrollTop += row.getBoundingClientRect().top - scroller.getBoundingClientRect().top - scroller.clientHeight / 2; };
    centre();
    // Blocks above it that are filled now may have another height than estimated.
    requestAnimationFrame(() => requestAnimationFrame(() => { if (row.isConnected) centre(); }));
    return row;
  }
}

customElements.define("log-view", LogView);
