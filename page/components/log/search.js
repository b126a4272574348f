// Search over all rows, also those of folded groups. Matches are marked with the highlight API, which changes no element, so that selections stay.
import { rowOf } from "./row.js";

/** @typedef {import("./lines.js").Line} Line @typedef {{ line: Line, from: number, to: number }} Match */

/** Most matches that are counted. */
const MAX_MATCHES = 100_000;

export class Search {
  /** @type {Match[]} */
  matches = [];
  /** Index of the present match; -1 before the first. */
  at = -1;
  #text = "";
  /** @type {RegExp | undefined} */
  #pattern;
  #found = "highlights" in CSS ? new Highlight() : undefined;
  #current = "highlights" in CSS ? new Highlight() : undefined;
  #isStale = false;

  /**
   * @param {import("./groups.js").Groups} groups
   * @param {HTMLElement} scroller
   * @param {() => void} changed
   */
  constructor(groups, scroller, changed) {
    this.groups = groups;
    this.scroller = scroller;
    this.changed = changed;
    if (!this.#found || !this.#current) return;
    this.#current.priority = 1;
    CSS.highlights.set("log-match", this.#found);
    CSS.highlights.set("log-current", this.#current);
  }

  /** @param {string} text */
  set(text) {
    if (text === this.#text) return;
    this.#text = text;
    this.#pattern = text === "" ? undefined : new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
    this.at = -1;
    this.#find();
    this.mark();
  }

  #find() {
    const [pattern, present] = [this.#pattern, this.matches[this.at]];
    this.matches = [];
    if (pattern) {
      for (const run of this.groups.runs()) for (const line of run.lines) this.#findIn(line, pattern);
    }
    this.at = present ? this.matches.findIndex(({ line, from }) => line === present.line && from === present.from) : -1;
    this.#isStale = false;
    this.changed();
  }

  /** @param {Line} line @param {RegExp} pattern */
  #findIn(line, pattern) {
    pattern.lastIndex = 0;
    for (let found = pattern.exec(line.text); found && this.matches.length < MAX_MATCHES; found = pattern.exec(line.text)) {
      this.matches.push({ line, from: found.index, to: pattern.lastIndex });
    }
  }

  /** Searches again, soon, when rows were added. */
  added() {
    if (!this.#pattern || this.#isStale) return;
    this.#isStale = true;
    setTimeout(() => {
      if (!this.#isStale) return;
      this.#find();
      this.mark();
    }, 250);
  }

  /** The next match in this direction, from the present one, or from the first visible row. @param {1 | -1} by @returns {Match | undefined} */
  move(by) {
    if (this.#isStale) this.#find();
    const count = this.matches.length;
    if (count === 0) return undefined;
    this.at = this.at < 0 ? (by > 0 ? 0 : count - 1) : (this.at + by + count) % count;
    this.changed();
    return this.matches[this.at];
  }

  /** Marks the matches in the rows that have elements. */
  mark() {
    const [found, current] = [this.#found, this.#current];
    if (!found || !current) return;
    found.clear();
    current.clear();
    if (!this.#pattern) return;
    /** @type {Map<Line, Match[]>} */
    const byLine = new Map();
    const present = this.matches[this.at];
    for (const row of this.scroller.querySelectorAll(".line")) {
      const line = rowOf(row)?.line;
      if (line) byLine.set(line, []);
    }
    for (const match of this.matches) byLine.get(match.line)?.push(match);
    for (const row of this.scroller.querySelectorAll(".line")) {
      const line = rowOf(row)?.line;
      for (const match of (line && byLine.get(line)) ?? []) {
        const range = rangeOf(row, match.from, match.to);
        if (range) (match === present ? current : found).add(range);
      }
    }
  }
}

/** The range of some characters of a row's text. @param {Element} row @param {number} from @param {number} to */
export function rangeOf(row, from, to) {
  const walker = document.createTreeWalker(/** @type {Element} */ (row.querySelector(".text")), NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let [before, isStarted] = [0, false];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.nodeValue?.length ?? 0;
    if (!isStarted && from < before + length) {
      range.setStart(node, from - before);
      isStarted = true;
    }
    if (isStarted && to <= before + length) {
      range.setEnd(node, to - before);
      return range;
    }
    before += length;
  }
  return undefined;
}
