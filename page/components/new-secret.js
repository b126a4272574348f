// A form whose answer has the secret of a webhook or push hook once, and the address for GitHub's settings.
import { t, url } from "./page.js";
import { showOnce } from "./secret-dialog.js";

class NewSecret extends HTMLElement {
  connectedCallback() {
    this.addEventListener("panda:done", (event) => {
      const { secret, hook } = /** @type {CustomEvent<{ secret: string | null, hook?: { payloadPath: string } }>} */ (event).detail;
      this.querySelector("details")?.removeAttribute("open");
      /** @type {Record<string, string>} */
      const values = { secret: secret ?? t("integrations_secret_gone") };
      if (hook) values.address = full(hook.payloadPath);
      showOnce(values);
    });
  }
}

/** A path of the API as others reach it. */
class FullAddress extends HTMLElement {
  connectedCallback() {
    this.textContent = full(this.dataset.path ?? "");
  }
}

/** @param {string} path */
function full(path) {
  // Behind a proxy, the configured address is the one that GitHub reaches.
  return (document.documentElement.dataset.public ?? location.origin + url("")) + path;
}

customElements.define("new-secret", NewSecret);
customElements.define("full-address", FullAddress);
