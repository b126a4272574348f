// Keys of every view: `/` searches, `j` and `k` move, Enter opens, `?` explains.
import { t } from "./page.js";

const KEYS = ["/", "j", "k", "Enter", "?"];

/** @param {EventTarget | null} target */
function types(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(input|select|textarea)$/i.test(target.tagName));
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || types(event.target) || document.querySelector("dialog[open]")) return;
  switch (event.key) {
    case "/": {
      const search = /** @type {HTMLElement | null} */ (document.querySelector('[data-key="/"]'));
      if (search) {
        event.preventDefault();
        search.focus();
      }
      break;
    }
    case "j":
      move(1);
      break;
    case "k":
      move(-1);
      break;
    case "?":
      help();
      break;
  }
});

/** Moves to the next row. Enter then opens it, because its link has the focus. @param {number} by */
function move(by) {
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-rows] [data-open]")]);
  const at = links.findIndex((link) => link === document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1)];
  next?.focus();
  next?.closest(".row")?.scrollIntoView({ block: "nearest" });
}

function help() {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", t("keys"));
  const list = document.createElement("dl");
  list.className = "keys";
  for (const key of KEYS) {
    const [name, text] = [document.createElement("dt"), document.createElement("dd")];
    const shown = document.createElement("kbd");
    shown.textContent = key;
    name.append(shown);
    text.textContent = t(`key_${{ "/": "search", j: "next", k: "previous", Enter: "open", "?": "help" }[key]}`);
    list.append(name, text);
  }
  const close = document.createElement("button");
  close.textContent = t("close");
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(list, close);
  document.body.append(dialog);
  dialog.showModal();
}
