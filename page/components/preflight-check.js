// What a deployment with a connection needs, as `POST /api/v1/connect/aws/{id}/check` finds it. `data-aws` is the connection; without it, the fields
// `[data-choose=aws]` and `[data-choose=github]` of the form around it choose, and each choice is checked. Event `panda:checked` with the check.
import { lang, t, url } from "./page.js";
import { sessionEnded } from "./session.js";

/** @typedef {{ ko: string, en: string }} Texts */
/** @typedef {"present" | "wouldBeCreated" | "missing" | "unknown"} State */
/** @typedef {{ id: string, kind: string, place: string, name: string, state: State, required: boolean, text: Texts, reason: Texts | null, remedy: Texts | null, permission: string | null }} Item */
/** @typedef {{ state: "ready" | "missing" | "unknown", counts: Record<State, number>, items: Item[], accountId: string, region: string }} Check */

/** @type {Record<State, string>} */
const MARKS = { present: "✓", wouldBeCreated: "+", missing: "✕", unknown: "?" };

class PreflightCheck extends HTMLElement {
  /** Number of the newest check: the answer of an older one is not shown. */
  #newest = 0;

  connectedCallback() {
    this.querySelector("[data-run]")?.addEventListener("click", () => this.#check());
    if (this.dataset.aws) return;
    this.closest("form")?.addEventListener("change", (event) => {
      if (event.target instanceof HTMLElement && "choose" in event.target.dataset) this.#check();
    });
    this.#check();
  }

  /** @param {string} kind */
  #chosen(kind) {
    const around = this.dataset.aws ? this : this.closest("form");
    return /** @type {HTMLSelectElement | null | undefined} */ (around?.querySelector(`[data-choose=${kind}]`))?.value ?? "";
  }

  async #check() {
    const number = ++this.#newest;
    const [aws, github] = [this.dataset.aws ?? this.#chosen("aws"), this.#chosen("github")];
    this.#report(undefined);
    if (!aws || (!github && !this.dataset.aws)) {
      this.#show([]);
      return;
    }
    this.#show([element("p", "muted", t("start_checking"))]);
    const query = github ? `?githubConnectionId=${encodeURIComponent(github)}` : "";
    const path = `/api/v1/connect/aws/${encodeURIComponent(aws)}/check${query}`;
    /** @type {Response | undefined} */
    let response;
    try {
      response = await fetch(url(path), { method: "POST", headers: { "accept-language": lang } });
    } catch {
      // Reported below.
    }
    const answer = await response?.json().catch(() => undefined);
    if (number !== this.#newest) return;
    if (response?.status === 401) sessionEnded();
    if (!response?.ok || !answer?.data) {
      this.#show([element("p", "problem", answer?.message ?? t("unreachable"))]);
      return;
    }
    this.#show(rendered(answer.data));
    this.#report(answer.data);
  }

  /** @param {Node[]} nodes */
  #show(nodes) {
    this.querySelector("[data-result]")?.replaceChildren(...nodes);
  }

  /** @param {Check | undefined} check */
  #report(check) {
    this.dispatchEvent(new CustomEvent("panda:checked", { bubbles: true, detail: check }));
  }
}

/** @param {Check} check */
function rendered(check) {
  const summary = element("p", "check-summary");
  const names = /** @type {State[]} */ (Object.keys(MARKS)).filter((state) => check.counts[state] > 0);
  const counts = names.map((state) => t(`start_count_${state}`, { n: check.counts[state] })).join(" · ");
  summary.append(element("span", `badge check-${check.state}`, t(`start_verdict_${check.state}`)), ` ${counts}`);
  const present = check.items.filter((item) => item.state === "present");
  const other = check.items.filter((item) => item.state !== "present");
  const rank = ["missing", "unknown", "wouldBeCreated"];
  other.sort((a, b) => Number(b.required) - Number(a.required) || rank.indexOf(a.state) - rank.indexOf(b.state));
  /** @type {Node[]} */
  const nodes = [summary];
  if (other.length > 0) nodes.push(table(other));
  if (present.length > 0) {
    const more = element("details");
    more.append(element("summary", "", t("start_present", { n: present.length })), table(present));
    nodes.push(more);
  }
  return nodes;
}

/** @param {Item[]} items */
function table(items) {
  const [scroll, list, head, body] = [element("div", "scroll"), element("table", "check"), element("thead"), element("tbody")];
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", t("start_items"));
  const titles = element("tr");
  for (const name of [t("start_col_state"), t("start_col_item"), t("start_col_place")]) titles.append(element("th", "", name));
  head.append(titles);
  body.append(...items.map(row));
  list.append(head, body);
  scroll.append(list);
  return scroll;
}

/** @param {Item} item */
function row(item) {
  const [line, state, what] = [element("tr"), element("td", `check-${item.state}`), element("td")];
  const mark = element("span", "mark", MARKS[item.state] ?? "?");
  mark.setAttribute("aria-hidden", "true");
  state.append(mark, ` ${t(`start_state_${item.state}`)}`);
  if (!item.required) state.append(element("span", "muted", ` ${t("start_optional")}`));
  what.append(element("div", "", item.text[lang]), element("div", "mono muted", item.name));
  if (item.reason) what.append(element("div", "", item.reason[lang]));
  if (item.remedy) what.append(element("div", "remedy", item.remedy[lang]));
  if (item.permission) what.append(element("div", "mono", item.permission));
  line.append(state, what, element("td", "muted", t(`start_place_${item.place}`)));
  return line;
}

/** @param {string} name @param {string} [className] @param {string} [text] */
function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

customElements.define("preflight-check", PreflightCheck);
