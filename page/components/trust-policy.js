// The trust policy that a refused role needs, to be copied.
import { t } from "./page.js";

class TrustPolicy extends HTMLElement {
  connectedCallback() {
    this.addEventListener("panda:problem", (event) => {
      const { problem, element } = /** @type {CustomEvent<{ problem: { trustPolicy?: object }, element: HTMLElement }>} */ (event).detail;
      if (!problem.trustPolicy) return;
      const text = JSON.stringify(problem.trustPolicy, null, 2);
      const [title, policy, copy] = [document.createElement("p"), document.createElement("pre"), document.createElement("button")];
      title.textContent = t("start_trust_policy");
      policy.textContent = text;
      policy.tabIndex = 0;
      copy.type = "button";
      copy.textContent = t("start_copy");
      copy.addEventListener("click", async () => {
        // The clipboard is missing where the page is served without TLS; the text is then selected, to be copied by hand.
        await navigator.clipboard?.writeText(text).then(() => { copy.textContent = t("start_copied"); }, () => {});
        getSelection()?.selectAllChildren(policy);
      });
      element.append(title, policy, copy);
    });
  }
}

customElements.define("trust-policy", TrustPolicy);
