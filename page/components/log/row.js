// The element of a row: its number, time and text with colours.
import { apply, pieces } from "./ansi.js";
import { MARK } from "./lines.js";
import { lang, t } from "../page.js";

/** @typedef {import("./lines.js").Line} Line */

const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
/** @type {WeakMap<Element, Line>} */
const lineOf = new WeakMap();
const model = document.createElement("div");
model.className = "line";
for (const [tag, name] of [["a", "n"], ["span", "at"], ["span", "text"]]) {
  const part = document.createElement(tag);
  part.className = name;
  model.append(part);
}
model.children[0].setAttribute("tabindex", "-1");

/** The row in which a node is. @param {Node | null} node */
export function rowOf(node) {
  const element = node instanceof Element ? node : node?.parentElement;
  const row = element?.closest(".line");
  return row ? { row, line: lineOf.get(row) } : undefined;
}

/** The element of a row. @param {Line} line */
export function rowElement(line) {
  const row = /** @type {HTMLElement} */ (model.cloneNode(true));
  const [number, at, text] = /** @type {HTMLCollectionOf<HTMLElement>} */ (row.children);
  if (line.isRest) number.removeAttribute("tabindex");
  else {
    number.dataset.n = String(line.n);
    number.setAttribute("href", `#L${line.n}`);
    number.setAttribute("aria-label", t("log_line", { n: line.n }));
    at.dataset.at = clock.format(line.at);
  }
  if (line.kind !== "output") row.classList.add(line.kind);
  if (line.ansi) for (const piece of pieces(line.ansi)) {
    const span = document.createElement("span");
    apply(span, piece.style);
    write(span, piece.text);
    text.append(span);
  }
  else write(text, line.text);
  lineOf.set(row, line);
  return row;
}

/** Writes text, with the forms of misleading characters set apart. @param {HTMLElement} element @param {string} text */
function write(element, text) {
  if (!text.includes("<U+")) {
    element.append(text);
    return;
  }
  let from = 0;
  for (const { 0: mark, index } of text.matchAll(MARK)) {
    const span = document.createElement("span");
    span.className = "misleading";
    span.textContent = mark;
    element.append(text.slice(from, index), span);
    from = index + mark.length;
  }
  element.append(text.slice(from));
}
