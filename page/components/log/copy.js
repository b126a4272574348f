// Copies a selection that reaches over rows without elements.
import { rowOf } from "./row.js";

/** @param {ClipboardEvent} event @param {import("./groups.js").Groups} groups */
export function copied(event, groups) {
  const selection = getSelection();
  if (!selection || selection.rangeCount === 0 || !event.clipboardData) return;
  const range = selection.getRangeAt(0);
  const [first, last] = [rowOf(range.startContainer), rowOf(range.endContainer)];
  if (!first?.line || !last?.line || first.line === last.line) return;
  const copied = [];
  let isInside = false;
  for (const run of groups.runs()) {
    if (!isOpen(run.group)) continue;
    for (const line of run.lines) {
      if (line === first.line) isInside = true;
      if (!isInside) continue;
      const from = line === first.line ? offset(first.row, range.startContainer, range.startOffset) : 0;
      const to = line === last.line ? offset(last.row, range.endContainer, range.endOffset) : undefined;
      copied.push(line.text.slice(from, to));
      if (line !== last.line) continue;
      event.clipboardData.setData("text/plain", copied.join("\n"));
      event.preventDefault();
      return;
    }
  }
}

/** @param {import("./group.js").Group | undefined} group @returns {boolean} */
function isOpen(group) {
  return group === undefined || (group.isOpen && isOpen(group.parent));
}

/** Characters of a row's text before a position. @param {Element} row @param {Node} node @param {number} at */
function offset(row, node, at) {
  const text = /** @type {Element} */ (row.querySelector(".text"));
  const range = document.createRange();
  range.setStart(text, 0);
  if (!text.contains(node)) return text.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING ? text.textContent?.length ?? 0 : 0;
  range.setEnd(node, at);
  return range.toString().length;
}
