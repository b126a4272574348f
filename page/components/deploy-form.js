// Fields of a deployment: what follows from the chosen connection, missing needs on the button, and a taken target.
import { lang, t, url } from "./page.js";

/** @typedef {import("./preflight-check.js").Check} Check */

class DeployForm extends HTMLElement {
  /** Branch that the last chosen connection brought. */
  #brought = "";

  connectedCallback() {
    this.addEventListener("change", (event) => {
      if (event.target instanceof HTMLElement && event.target.dataset.choose === "github") this.#follow();
    });
    this.closest("form")?.addEventListener("panda:checked", (event) => this.#warn(/** @type {CustomEvent<Check | undefined>} */ (event).detail));
    this.closest("form")?.addEventListener("panda:problem", (event) => this.#offer(/** @type {CustomEvent} */ (event).detail));
    this.#brought = this.#connection()?.dataset.branch ?? "";
    this.#secrets();
    this.#zones();
  }

  #connection() {
    return /** @type {HTMLSelectElement | null} */ (this.querySelector("[data-choose=github]"))?.selectedOptions[0];
  }

  /** Takes repository and branch over from the connection, and keeps a branch that was typed. */
  #follow() {
    const { owner = "", repo = "", branch = "" } = this.#connection()?.dataset ?? {};
    const set = (/** @type {string} */ name, /** @type {string} */ value) => {
      const field = /** @type {HTMLInputElement | null} */ (this.querySelector(`[data-follows=${name}]`));
      if (field && (name !== "branch" || field.value === "" || field.value === this.#brought)) field.value = value;
    };
    set("owner", owner);
    set("repo", repo);
    set("branch", branch);
    this.#brought = branch;
    this.#secrets();
  }

  /** Shows the build secrets of the chosen connection only. */
  #secrets() {
    const chosen = this.#connection()?.value;
    for (const group of /** @type {NodeListOf<HTMLFieldSetElement>} */ (this.querySelectorAll("fieldset[data-secrets-of]"))) {
      const applies = group.dataset.secretsOf === chosen;
      group.hidden = !applies;
      group.disabled = !applies;
    }
  }

  /** Names missing needs on the button, which then asks first. @param {Check | undefined} check */
  #warn(check) {
    const form = this.closest("form");
    const button = /** @type {HTMLElement | null | undefined} */ (form?.querySelector("[data-start]"));
    if (!form || !button) return;
    button.dataset.text ??= button.textContent ?? "";
    const missing = check?.items.filter((item) => item.required && item.state === "missing").map((item) => item.name || item.text[lang]) ?? [];
    const named = missing.slice(0, 2).join(", ") + (missing.length > 2 ? " …" : "");
    button.textContent = missing.length === 0 ? button.dataset.text : t("start_despite", { text: button.dataset.text, n: missing.length, names: named });
    if (missing.length === 0) delete form.dataset.confirm;
    else form.dataset.confirm = t("start_despite_confirm", { names: missing.join("\n") });
  }

  /** Offers what the API accepts while another deployment has the target. @param {{ problem: { errorCode?: string, deploymentId?: string }, element: HTMLElement }} detail */
  #offer({ problem, element }) {
    const form = this.closest("form");
    const choice = /** @type {HTMLSelectElement | null | undefined} */ (form?.querySelector("[name=concurrency]"));
    if (problem.errorCode !== "TARGET_TAKEN" || !form || !choice) return;
    const actions = document.createElement("div");
    actions.className = "actions";
    for (const [value, name] of [["queue", t("start_queue")], ["supersede", t("start_supersede")]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.dataset.concurrency = value;
      button.addEventListener("click", () => {
        choice.value = value;
        choice.dispatchEvent(new Event("input", { bubbles: true }));
        form.requestSubmit();
      });
      actions.append(button);
    }
    if (problem.deploymentId) {
      const link = document.createElement("a");
      link.href = url(`/deployments/${encodeURIComponent(problem.deploymentId)}`);
      link.textContent = t("start_other");
      actions.append(link);
    }
    element.append(actions);
  }

  /** Offers the time zones that the browser knows, its own first for a new schedule. */
  #zones() {
    const field = /** @type {HTMLInputElement | null | undefined} */ (this.closest("form")?.querySelector("[data-zone]"));
    if (!field?.list) return;
    if (field.value === "") field.defaultValue = Intl.DateTimeFormat().resolvedOptions().timeZone;
    field.list.replaceChildren(...Intl.supportedValuesOf("timeZone").map((zone) => new Option(zone, zone)));
  }
}

customElements.define("deploy-form", DeployForm);
