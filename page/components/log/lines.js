// Events become rows of the log: one row a line, with its number, time and text.

/**
 * @typedef {{ seq?: number, id: string, type: "stage" | "success" | "fail", attempt?: number, message: string, details?: Record<string, unknown> }} LogEvent
 * @typedef {{ n: number, at: number, text: string, ansi?: string, kind: "output" | "stage" | "success" | "fail", isRest: boolean, run?: import("./blocks.js").Run }} Line
 */

/** Longest row. The server cuts lines of output at a quarter of it. */
const MAX_CHARS = 16_384;

/** Most rows of one event. */
const MAX_ROWS = 200;

/** What makes text look different from its content, as `domain::text::misleads` of the server, and tabs, which have no fixed width. */
const MISLEADING = new RegExp(
  "[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e" +
  "\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb\\u{13430}-\\u{1343f}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]",
  "gu",
);

/** The form of a misleading character in a row's text, such as `<U+202E>`. */
export const MARK = /<U\+[0-9A-F]{4,6}>/g;

/** @param {string} text */
export function visible(text) {
  return text.replace(MISLEADING, (c) => c === "\t" ? "    " : `<U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}>`);
}

/**
 * The time of an event: its id is a UUID of version 7.
 * @param {string} id
 */
export function timeOf(id) {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/**
 * The rows of an event. Only the first of several has its number.
 * @param {LogEvent} event
 * @param {number} n
 * @param {string} buildPrefix
 * @returns {Line[]}
 */
export function rows(event, n, buildPrefix) {
  const isOutput = event.type === "stage" && event.message.startsWith(buildPrefix);
  const kind = isOutput ? "output" : event.type;
  const message = isOutput ? event.message.slice(buildPrefix.length) : event.message.replace(/^\[(?:Step|Stage) \d\] /, "");
  const at = timeOf(event.id);
  const ansi = isOutput && typeof event.details?.ansi === "string" ? event.details.ansi.slice(0, 4 * MAX_CHARS) : undefined;
  if (!message.includes("\n")) return [{ n, at, text: visible(cut(message)), ansi, kind, isRest: false }];
  return message.split("\n", MAX_ROWS).map((text, index) => ({ n, at, text: visible(cut(text)), kind, isRest: index > 0 }));
}

/** @param {string} text */
function cut(text) {
  return text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}…` : text;
}
