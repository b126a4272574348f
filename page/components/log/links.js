// Links to a row (`#L120`) or to a range (`#L120-L140`): read from the address, written by a click and a click with Shift on a number.
import { rowOf } from "./row.js";

export class Links {
  from = 0;
  to = -1;

  /** @param {HTMLElement} scroller @param {(n: number) => void} go shows a row */
  constructor(scroller, go) {
    this.scroller = scroller;
    this.go = go;
    scroller.addEventListener("click", (event) => {
      const link = event.target instanceof Element ? event.target.closest("a.n") : null;
      if (!link || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const n = rowOf(link)?.line?.n;
      if (n === undefined) return;
      if (event.shiftKey && this.from > 0) this.set(Math.min(this.from, n), Math.max(this.from, n));
      else this.set(n, n);
      // A click with Shift also selects text.
      if (event.shiftKey) getSelection()?.removeAllRanges();
    });
    addEventListener("hashchange", () => this.read());
  }

  /** True if the address names a row. */
  get isSet() {
    return this.from > 0;
  }

  /** Reads the address, and shows its rows. */
  read() {
    const found = /^#L(\d{1,9})(?:-L?(\d{1,9}))?$/.exec(location.hash);
    [this.from, this.to] = found ? [Number(found[1]), Number(found[2] ?? found[1])] : [0, -1];
    this.mark();
    if (this.isSet) this.go(this.from);
  }

  /** @param {number} from @param {number} to */
  set(from, to) {
    [this.from, this.to] = [from, to];
    history.replaceState(history.state, "", from === to ? `#L${from}` : `#L${from}-L${to}`);
    this.mark();
  }

  mark() {
    for (const row of this.scroller.querySelectorAll(".line")) this.decorate(row, rowOf(row)?.line?.n ?? 0);
  }

  /** @param {Element} row @param {number} n */
  decorate(row, n) {
    row.classList.toggle("linked", n >= this.from && n <= this.to);
  }
}
