// Rows in the document: a run of rows is cut into blocks, which have elements only near the visible part. A block that holds the end of the reader's
// selection keeps its elements, so that the selection stays.
import { rowElement } from "./row.js";

/** @typedef {import("./lines.js").Line} Line @typedef {{ element: HTMLElement, run: Run, from: number, isFilled: boolean, height?: number }} Block */

/** Rows of a block. */
const SIZE = 50;

/** Height of a row that is not wrapped, as in log.css. */
export const ROW = 20;

/** Rows that follow each other, without a group between them. */
export class Run {
  /** @type {Line[]} */
  lines = [];
  /** @type {Block[]} */
  blocks = [];

  /** @param {Blocks} owner @param {HTMLElement} parent @param {import("./group.js").Group} group */
  constructor(owner, parent, group) {
    this.owner = owner;
    this.parent = parent;
    this.group = group;
  }

  /** @param {Line} line */
  add(line) {
    line.run = this;
    const index = this.lines.push(line) - 1;
    let block = this.blocks.at(-1);
    if (!block || index % SIZE === 0) {
      const element = document.createElement("div");
      element.className = "block";
      block = { element, run: this, from: index, isFilled: false };
      this.blocks.push(block);
      this.parent.append(element);
      this.owner.watch(block);
    }
    if (block.isFilled) block.element.append(this.owner.row(line));
    this.owner.resize(block);
  }

  /** @param {number} index */
  rowAt(index) {
    const block = this.blocks[Math.floor(index / SIZE)];
    this.owner.fill(block);
    return /** @type {HTMLElement} */ (block.element.children[index % SIZE]);
  }
}

/** All blocks of a log. */
export class Blocks {
  wraps = false;
  /** Called with each new row. @type {(row: HTMLElement, line: Line) => void} */
  decorate = () => {};
  /** Called after rows appeared. */
  filled = () => {};
  /** @type {WeakMap<Element, Block>} */
  #blockOf = new WeakMap();
  /** @type {Set<Block>} */
  #resized = new Set();

  /** @param {HTMLElement} scroller */
  constructor(scroller) {
    this.scroller = scroller;
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { root: scroller, rootMargin: "700px 0px" });
  }

  /** @param {Block} block */
  watch(block) {
    this.#blockOf.set(block.element, block);
    this.observer.observe(block.element);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    // Read before the first change: afterwards the browser would have to lay out the document for it.
    const selection = getSelection();
    const kept = [document.activeElement, ...(selection && !selection.isCollapsed ? [selection.anchorNode, selection.focusNode] : [])];
    let any = false;
    for (const { target, isIntersecting, boundingClientRect } of entries) {
      const block = this.#blockOf.get(target);
      if (!block) continue;
      if (isIntersecting) any = this.fill(block) || any;
      else if (block.isFilled && !kept.some((node) => node && target.contains(node))) this.#empty(block, boundingClientRect.height);
    }
    if (any) this.filled();
  }

  /** @param {Block} block */
  fill(block) {
    if (block.isFilled) return false;
    block.isFilled = true;
    block.element.replaceChildren(...block.run.lines.slice(block.from, block.from + SIZE).map((line) => this.row(line)));
    this.#setHeight(block);
    return true;
  }

  /** @param {Block} block @param {number} height */
  #empty(block, height) {
    block.isFilled = false;
    // A folded group has no height, which says nothing about its blocks.
    if (this.wraps && height > 0) block.height = height;
    block.element.replaceChildren();
    this.#setHeight(block);
  }

  /** Sets the height of a block that has a new row, once for all new rows. @param {Block} block */
  resize(block) {
    if (this.#resized.size === 0) queueMicrotask(() => this.flush());
    this.#resized.add(block);
  }

  flush() {
    for (const block of this.#resized) this.#setHeight(block);
    this.#resized.clear();
  }

  /** @param {Block} block */
  #setHeight(block) {
    const lines = block.run.lines;
    const count = Math.min(SIZE, lines.length - block.from);
    let height = `${count * ROW}px`;
    if (this.wraps) {
      if (block.isFilled) height = "";
      else if (block.height) height = `${block.height}px`;
      else {
        const columns = Math.max(20, (this.scroller.clientWidth - 140) / 7.8);
        height = `${lines.slice(block.from, block.from + count).reduce((sum, line) => sum + Math.max(1, Math.ceil(line.text.length / columns)), 0) * ROW}px`;
      }
    }
    block.element.style.height = height;
  }

  /** Measures all blocks again. @param {Iterable<Run>} runs @param {boolean} wraps */
  setWrap(runs, wraps) {
    this.wraps = wraps;
    for (const run of runs) {
      for (const block of run.blocks) {
        block.height = undefined;
        this.#setHeight(block);
      }
    }
  }

  /** @param {Line} line */
  row(line) {
    const row = rowElement(line);
    this.decorate(row, line);
    return row;
  }
}
