// Colours of build output: "select graphic rendition" with 16, 256 and 16 million colours. Everything else was removed by the server, and would be shown
// as text here.
import { visible } from "./lines.js";

/** @typedef {[number, number, number]} Rgb @typedef {{ fg?: number | Rgb, bg?: number | Rgb, marks: Set<string> }} Style @typedef {{ text: string, style: Style }} Piece */

const SEQUENCE = /\x1b\[([0-9;:]*)m/g;

/** Most pieces of a line; the rest is one piece. */
const MAX_PIECES = 200;

/** @type {Record<number, string>} */
const MARKS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };

/** The colours of a terminal on the dark ground of the log, each with a contrast of 4.5 or more. */
const BASIC = /** @type {Rgb[]} */ ([
  [140, 148, 163], [255, 123, 132], [99, 210, 151], [242, 182, 85], [127, 176, 255], [216, 155, 255], [98, 207, 219], [223, 228, 238],
  [162, 171, 189], [255, 155, 162], [140, 230, 180], [255, 208, 120], [165, 200, 255], [232, 190, 255], [140, 228, 238], [255, 255, 255],
]);
const GROUND = /** @type {Rgb} */ ([16, 20, 29]);

/**
 * The pieces of a line, each with one style.
 * @param {string} ansi
 * @returns {Piece[]}
 */
export function pieces(ansi) {
  const found = [];
  let style = /** @type {Style} */ ({ marks: new Set() });
  let from = 0;
  for (const match of ansi.matchAll(SEQUENCE)) {
    if (found.length >= MAX_PIECES) return [...found, { text: visible(ansi.slice(from).replace(SEQUENCE, "")), style }];
    if (match.index > from) found.push({ text: visible(ansi.slice(from, match.index)), style });
    from = match.index + match[0].length;
    style = selected(style, match[1]);
  }
  if (from < ansi.length) found.push({ text: visible(ansi.slice(from)), style });
  return found;
}

/** @param {Style} before @param {string} codes @returns {Style} */
function selected(before, codes) {
  const style = { ...before, marks: new Set(before.marks) };
  const numbers = codes.split(/[;:]/).map(Number);
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at];
    if (code === 0) Object.assign(style, { fg: undefined, bg: undefined, marks: new Set() });
    else if (MARKS[code]) style.marks.add(MARKS[code]);
    else if (code === 22) ["bold", "dim"].forEach((mark) => style.marks.delete(mark));
    else if (code > 22 && code < 30) style.marks.delete(MARKS[code - 20]);
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
    else if (code === 39) style.fg = undefined;
    else if (code === 49) style.bg = undefined;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(numbers.slice(at + 1));
      style[code === 38 ? "fg" : "bg"] = colour;
      at += used;
    }
  }
  return style;
}

/** @param {number[]} rest @returns {[number | Rgb | undefined, number]} */
function extended(rest) {
  if (rest[0] === 5) return [rest[1] < 16 ? rest[1] : of256(rest[1]), 2];
  if (rest[0] !== 2) return [undefined, 1];
  const values = rest.slice(1, 4).map((value) => Math.min(255, value || 0));
  return [/** @type {Rgb} */ ([values[0] ?? 0, values[1] ?? 0, values[2] ?? 0]), 4];
}

/** @param {number} code @returns {Rgb | undefined} */
function of256(code) {
  if (!(code >= 16 && code <= 255)) return undefined;
  if (code >= 232) return [8 + 10 * (code - 232), 8 + 10 * (code - 232), 8 + 10 * (code - 232)];
  const level = (/** @type {number} */ n) => (n === 0 ? 0 : 55 + 40 * n);
  const n = code - 16;
  return [level(Math.floor(n / 36)), level(Math.floor(n / 6) % 6), level(n % 6)];
}

/**
 * Applies a style. Colours without contrast are changed until they can be read: text of the colour of its ground could deceive.
 * @param {HTMLElement} element
 * @param {Style} style
 */
export function apply(element, { fg, bg, marks }) {
  const rgb = (/** @type {number | Rgb | undefined} */ colour) => (typeof colour === "number" ? BASIC[colour] : colour);
  let [front, back] = [rgb(fg), rgb(bg)];
  if (marks.has("inverse")) [front, back] = [back ?? GROUND, front ?? BASIC[7]];
  if (back) element.style.backgroundColor = `rgb(${back.join(" ")})`;
  if (front || back) element.style.color = `rgb(${legible(front ?? BASIC[7], back ?? GROUND).join(" ")})`;
  for (const mark of marks) element.classList.add(`ansi-${mark}`);
}

/** @param {Rgb} front @param {Rgb} back @returns {Rgb} */
function legible(front, back) {
  const isDark = luminance(back) < 0.18;
  let colour = front;
  for (let step = 0; step < 8 && contrast(colour, back) < 4.55; step++) colour = /** @type {Rgb} */ (colour.map((part) => Math.round(isDark ? part + (255 - part) * 0.3 : part * 0.7)));
  return contrast(colour, back) < 4.5 ? (isDark ? [255, 255, 255] : [0, 0, 0]) : colour;
}

/** @param {Rgb} one @param {Rgb} other */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** Relative luminance of WCAG. @param {Rgb} colour */
function luminance(colour) {
  const [r, g, b] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
