// The controls above a log: search, a row by its number, follow mode, times, wrapping, groups, the file.
import { remember, remembered, t } from "../page.js";

/** @param {string} text @param {string} title @param {() => void} click */
function button(text, title, click) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  if (title) {
    element.title = title;
    element.setAttribute("aria-label", title);
  }
  element.addEventListener("click", click);
  return element;
}

/** @param {string} type @param {string} label @param {string} name */
function field(type, label, name) {
  const element = document.createElement("input");
  element.type = type;
  element.className = name;
  element.placeholder = label;
  element.setAttribute("aria-label", label);
  element.autocomplete = "off";
  element.spellcheck = false;
  return element;
}

/**
 * A button that is on or off, remembered under `key`.
 * @param {string} text
 * @param {string} key
 * @param {(isOn: boolean) => void} change
 */
function toggle(text, key, change) {
  const element = button(text, "", () => {
    const isOn = element.getAttribute("aria-pressed") !== "true";
    element.setAttribute("aria-pressed", String(isOn));
    remember(key, isOn ? "on" : "off");
    change(isOn);
  });
  const isOn = remembered(key, "off") === "on";
  element.setAttribute("aria-pressed", String(isOn));
  change(isOn);
  return element;
}

/**
 * @param {{ file: string, search: (text: string) => void, move: (by: 1 | -1) => void, line: (from: number, to: number) => void, follow: () => void,
 *   times: (isOn: boolean) => void, wrap: (isOn: boolean) => void, groups: (isOpen: boolean) => void }} actions
 */
export function toolbar(actions) {
  const bar = document.createElement("div");
  bar.className = "log-bar";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", t("log_controls"));
  const search = field("search", t("log_search"), "log-search");
  search.dataset.key = "/";
  search.addEventListener("input", () => actions.search(search.value));
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    actions.move(event.shiftKey ? -1 : 1);
  });
  const count = document.createElement("output");
  count.className = "log-count";
  const line = field("text", t("log_go"), "log-go");
  line.title = t("log_go_example");
  line.inputMode = "numeric";
  line.addEventListener("keydown", (event) => {
    const found = /^\s*(\d{1,9})\s*(?:-\s*(\d{1,9}))?\s*$/.exec(line.value);
    if (event.key !== "Enter" || !found) return;
    const [from, to] = [Number(found[1]), Number(found[2] ?? found[1])];
    actions.line(Math.min(from, to), Math.max(from, to));
  });
  const follow = button(t("log_follow"), "", actions.follow);
  follow.className = "log-following";
  follow.setAttribute("aria-pressed", "false");
  const file = document.createElement("a");
  file.className = "button";
  file.href = actions.file;
  file.download = "";
  file.textContent = t("log_download");
  bar.append(
    search, count, button("↑", t("log_previous"), () => actions.move(-1)), button("↓", t("log_next"), () => actions.move(1)), line, follow,
    toggle(t("log_times"), "log.times", actions.times), toggle(t("log_wrap"), "log.wrap", actions.wrap),
    button(t("log_open_all"), "", () => actions.groups(true)), button(t("log_fold_all"), "", () => actions.groups(false)), file,
  );
  return { bar, count, follow };
}
