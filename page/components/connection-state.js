// Says that the server is unreachable, and removes that when it answers again.
import { t } from "./page.js";

class ConnectionState extends HTMLElement {
  connectedCallback() {
    document.addEventListener("panda:connection", (event) => {
      const state = /** @type {CustomEvent<"open" | "away">} */ (event).detail;
      this.hidden = state === "open";
      this.textContent = state === "open" ? "" : t("unreachable");
    });
  }
}

customElements.define("connection-state", ConnectionState);
