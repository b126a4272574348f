// A form that calls the API: `data-api="POST /api/v1/…"`; a field's name in braces is a part of the path. Other fields are members of the JSON body,
// see `form-body.js`. `data-then` is the next view, with members of the answer in braces; without it, the regions are loaded again, and `data-done` is
// shown. `data-keeps` names members that a PUT must repeat to keep them: they are read before. `data-confirm` asks first, `data-reset` empties the form afterwards; fields of secrets are always emptied.
// Give the form `method="post"`: while scripts are missing, a browser would put its fields into the address.
// Events: `panda:done` with the answer's data; `panda:problem` with the problem and the element that shows it, so that others can add to it.
import { clearProblems, showProblem } from "./form-problem.js";
import { fill, read } from "./form-body.js";
import { lang, t, url } from "./page.js";
import { refreshed } from "./live-region.js";
import { sessionEnded } from "./session.js";

class ApiForm extends HTMLElement {
  #busy = false;
  /** One key for each version of the input: sending the same again repeats nothing. */
  #key = unique();

  connectedCallback() {
    this.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(/** @type {HTMLFormElement} */ (event.target));
    });
    this.addEventListener("input", () => { this.#key = unique(); });
  }

  /** @param {HTMLFormElement} form */
  async #send(form) {
    const question = form.dataset.confirm;
    if (this.#busy || (question && !confirm(question))) return;
    this.#busy = true;
    form.setAttribute("aria-busy", "true");
    clearProblems(form);
    try {
      const [method, pattern] = (form.dataset.api ?? "").split(" ");
      const { path, used } = fill(form, pattern);
      const response = await this.#request(form, method, path, used);
      const answer = await response.json().catch(() => ({}));
      // A refused request may be repeated with another outcome, so its key is used up.
      if (!response.ok) this.#key = unique();
      if (response.status === 401) sessionEnded();
      else if (response.ok) await this.#done(form, answer.data ?? {});
      else showProblem(form, answer);
    } catch {
      showProblem(form, { message: t("unreachable") });
    } finally {
      this.#busy = false;
      form.removeAttribute("aria-busy");
    }
  }

  /** @param {HTMLFormElement} form @param {string} method @param {string} path @param {Set<string>} used */
  async #request(form, method, path, used) {
    const headers = { "content-type": "application/json", "accept-language": lang, "idempotency-key": this.#key };
    if (method === "GET" || method === "DELETE") return fetch(url(path), { method, headers });
    /** @type {Record<string, unknown>} */
    const body = {};
    if (form.dataset.keeps) {
      const before = await fetch(url(path), { headers });
      if (!before.ok) return before;
      const { data } = await before.json();
      for (const name of form.dataset.keeps.split(" ")) if (data[name] !== null) body[name] = data[name];
    }
    return fetch(url(path), { method, headers, body: JSON.stringify({ ...body, ...read(form, used) }) });
  }

  /** @param {HTMLFormElement} form @param {Record<string, unknown>} data */
  async #done(form, data) {
    this.#key = unique();
    for (const secret of form.querySelectorAll("input[type=password]")) /** @type {HTMLInputElement} */ (secret).value = "";
    form.dispatchEvent(new CustomEvent("panda:done", { bubbles: true, detail: data }));
    const then = form.dataset.then?.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(data[name] ?? "")));
    if (then) {
      location.assign(url(then));
      return;
    }
    await refreshed();
    if ("reset" in form.dataset) form.reset();
    if (form.dataset.done) {
      const done = document.createElement("p");
      done.className = "done";
      done.setAttribute("role", "status");
      done.textContent = form.dataset.done;
      form.append(done);
    }
    form.closest("dialog")?.close();
  }
}

/** 128 random bits. `crypto.randomUUID` is missing where the page is served without TLS. */
function unique() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

customElements.define("api-form", ApiForm);
