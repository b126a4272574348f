// Radio buttons, or a list, that choose which fields apply: `data-pane="a b"` names the values for which a group of fields is shown. The others are disabled, so
// that they are not sent, and keep what was typed.

class ChoicePanes extends HTMLElement {
  connectedCallback() {
    this.addEventListener("change", () => this.#show());
    // A reset changes the fields after its event.
    this.closest("form")?.addEventListener("reset", () => setTimeout(() => this.#show()));
    this.#show();
  }

  #show() {
    const choice = this.querySelector("[data-choice]:checked, select[data-choice]");
    const chosen = /** @type {HTMLInputElement | HTMLSelectElement | null} */ (choice)?.value ?? "";
    for (const pane of /** @type {NodeListOf<HTMLFieldSetElement>} */ (this.querySelectorAll("fieldset[data-pane]"))) {
      const applies = (pane.dataset.pane ?? "").split(" ").includes(chosen);
      pane.hidden = !applies;
      pane.disabled = !applies;
    }
  }
}

customElements.define("choice-panes", ChoicePanes);
