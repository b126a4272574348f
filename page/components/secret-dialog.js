// The dialog of values that an answer has once, such as a new secret. It stays until it is closed, and the values are kept nowhere. `data-value` names the
// element of a value, `data-copy` the button that copies it.
import { t } from "./page.js";

/** @param {Record<string, string>} values by their names */
export function showOnce(values) {
  const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("dialog.secret"));
  const copied = /** @type {HTMLElement} */ (dialog.querySelector("[data-copied]"));
  const places = /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll("[data-value]"));
  copied.textContent = "";
  for (const place of places) {
    const value = values[place.dataset.value ?? ""];
    place.textContent = value ?? "";
    // Parts around a value are for answers that have it.
    const part = place.closest("[data-part]");
    if (part instanceof HTMLElement) part.hidden = value === undefined;
  }
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll("[data-copy]"))) {
    button.onclick = async () => {
      const place = [...places].find((place) => place.dataset.value === button.dataset.copy);
      if (place) copied.textContent = (await copy(place)) ? t("access_copied") : t("access_selected");
    };
  }
  /** @type {HTMLElement} */ (dialog.querySelector("[data-close]")).onclick = () => dialog.close();
  dialog.onclose = () => { for (const place of places) place.textContent = ""; };
  dialog.showModal();
}

/** False where the browser has no clipboard for this page: then the text is selected. @param {HTMLElement} place */
async function copy(place) {
  try {
    await navigator.clipboard.writeText(place.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(place);
    return false;
  }
}
