// The form for a new token. Its secret is in the answer once.
import { t } from "./page.js";
import { showOnce } from "./secret-dialog.js";

class NewToken extends HTMLElement {
  connectedCallback() {
    this.addEventListener("panda:done", (event) => {
      const { secret } = /** @type {CustomEvent<{ secret: string | null }>} */ (event).detail;
      this.querySelector("details")?.removeAttribute("open");
      showOnce({ secret: secret ?? t("access_secret_gone") });
    });
  }
}

customElements.define("new-token", NewToken);
