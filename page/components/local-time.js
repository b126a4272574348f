// Times of the server (UTC) in the reader's zone and language, relative ones counting on.
import { lang, t } from "./page.js";

const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
const full = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });

/** @type {[number, Intl.RelativeTimeFormatUnit][]} */
const UNITS = [[86_400, "day"], [3_600, "hour"], [60, "minute"], [1, "second"]];

/** @param {number} at milliseconds @param {number} [longest] days, beyond which the date is shorter to read */
function ago(at, longest = 7) {
  const seconds = (at - Date.now()) / 1000;
  if (Math.abs(seconds) > longest * 86_400) return day.format(at);
  const [size, unit] = UNITS.find(([size]) => Math.abs(seconds) >= size) ?? [1, "second"];
  return relative.format(Math.trunc(seconds / size), /** @type {Intl.RelativeTimeFormatUnit} */ (unit));
}

/**
 * A duration as its two largest units, as the server writes it.
 * @param {number} ms
 */
export function duration(ms) {
  const whole = Math.max(0, Math.floor(ms / 1000));
  const parts = { d: Math.floor(whole / 86_400), h: Math.floor(whole / 3600) % 24, m: Math.floor(whole / 60) % 60, s: whole % 60 };
  const names = /** @type {const} */ (["d", "h", "m", "s"]);
  const first = names.findIndex((name) => parts[name] > 0);
  const shown = first < 0 ? ["s"] : names.slice(first, first + 2);
  return shown.map((name) => t(`unit_${name}`, { n: parts[/** @type {"d"} */ (name)] })).join(" ");
}

/** Shortest time between two loads of the view for a time that has passed and still stands there. */
const RELOAD_MS = 15_000;
let reloadedAt = 0;

/** @param {ParentNode} within */
export function localize(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = Date.parse(/** @type {HTMLTimeElement} */ (time).dateTime);
    if (Number.isNaN(at)) continue;
    const kind = /** @type {HTMLElement} */ (time).dataset;
    const text = "since" in kind ? duration(Date.now() - at) : "until" in kind ? duration(at - Date.now()) : "away" in kind ? ago(at, Infinity)
      : "relative" in kind ? ago(at) : "day" in kind ? day.format(at) : full.format(at);
    if (time.textContent !== text) time.textContent = text;
    const title = full.format(at);
    if ("reload" in kind && at <= Date.now() && Date.now() - reloadedAt > RELOAD_MS) {
      reloadedAt = Date.now();
      document.dispatchEvent(new CustomEvent("panda:reload"));
    }
    if (time.getAttribute("title") !== title) time.setAttribute("title", title);
  }
}

localize(document);
setInterval(() => localize(document), 1000);
document.addEventListener("panda:changed", () => localize(document));
