// The receiver's answer to a test event or message, beside the button that sent it.
import { t } from "./page.js";

class TestAnswer extends HTMLElement {
  connectedCallback() {
    this.addEventListener("panda:done", (event) => {
      const { accepted, status, error } = /** @type {CustomEvent<{ accepted: boolean, status: number | null, error: string | null }>} */ (event).detail;
      const place = /** @type {HTMLElement} */ (this.querySelector("[role=status]"));
      place.className = accepted ? "done" : "problem";
      place.textContent = accepted ? t("integrations_accepted", { status: status ?? "–" }) : t("integrations_not_accepted", { error: error ?? status ?? "–" });
    });
  }
}

customElements.define("test-answer", TestAnswer);
