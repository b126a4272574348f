// The form for a new token. Its secret is in the answer once, so it is shown in a dialog that stays until it is closed, and kept nowhere.
import { t } from "./page.js";

class NewToken extends HTMLElement {
  connectedCallback() {
    this.addEventListener("panda:done", (event) => {
      const { secret } = /** @type {CustomEvent<{ secret: string | null }>} */ (event).detail;
      this.querySelector("details")?.removeAttribute("open");
      show(secret ?? t("access_secret_gone"));
    });
  }
}

/** @param {string} secret */
function show(secret) {
  const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("dialog.secret"));
  const value = /** @type {HTMLOutputElement} */ (dialog.querySelector("output"));
  const copied = /** @type {HTMLElement} */ (dialog.querySelector("[data-copied]"));
  value.textContent = secret;
  copied.textContent = "";
  /** @type {HTMLElement} */ (dialog.querySelector("[data-close]")).onclick = () => dialog.close();
  /** @type {HTMLElement} */ (dialog.querySelector("[data-copy]")).onclick = async () => {
    copied.textContent = (await copy(value)) ? t("access_copied") : t("access_selected");
  };
  dialog.onclose = () => { value.textContent = ""; };
  dialog.showModal();
}

/** False where the browser has no clipboard for this page: then the text is selected. @param {HTMLElement} value */
async function copy(value) {
  try {
    await navigator.clipboard.writeText(value.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(value);
    return false;
  }
}

customElements.define("new-token", NewToken);
