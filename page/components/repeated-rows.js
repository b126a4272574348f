// Groups of fields that may be added and removed, such as the windows of a policy. The `template` has an empty group. Names are numbered by their place
// (`windows[0].cron`), as the API names the items of a list.

class RepeatedRows extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("[data-add], [data-remove]") : null;
      if (!(button instanceof HTMLElement)) return;
      if ("add" in button.dataset) this.#add(button);
      else this.#remove(button);
      this.#number();
      // A form with other content is another request.
      this.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }

  /** @param {HTMLElement} button */
  #add(button) {
    const blank = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
    const added = /** @type {HTMLElement} */ (/** @type {Element} */ (blank.content.firstElementChild).cloneNode(true));
    (button.parentElement ?? button).before(added);
    /** @type {HTMLElement | null} */ (added.querySelector("input"))?.focus();
  }

  /** @param {HTMLElement} button */
  #remove(button) {
    button.closest("[data-row]")?.remove();
    /** @type {HTMLElement | null} */ (this.querySelector("[data-add]"))?.focus();
  }

  #number() {
    for (const [at, row] of this.querySelectorAll("[data-row]").entries()) {
      for (const field of /** @type {NodeListOf<HTMLInputElement>} */ (row.querySelectorAll("[name]"))) {
        field.name = field.name.replace(/\[\d+\]/, `[${at}]`);
      }
    }
  }
}

customElements.define("repeated-rows", RepeatedRows);
