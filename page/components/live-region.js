// A part of the view that follows the server: when something changed, the view is loaded again and the region is changed in place, so that focus,
// selection and opened groups stay. `data-deployment` limits it to the events of one deployment.
import { subscribe } from "./feed.js";
import { t } from "./page.js";
import { sessionEnded } from "./session.js";

/** Shortest time between two loads of the view. */
const PAUSE_MS = 1000;

/** Beginnings of the messages of build and push output, which changes no region. */
const OUTPUT = [t("output_build"), t("output_push")];

let pending = false;
let last = 0;
/** @type {Promise<void> | undefined} */
let loading;

class LiveRegion extends HTMLElement {
  #end = () => {};

  connectedCallback() {
    const own = this.dataset.deployment;
    const take = (/** @type {import("./feed.js").FeedEvent} */ event) => {
      const isOutput = event.type === "stage" && OUTPUT.some((beginning) => event.message.startsWith(beginning));
      if (!isOutput && (own === undefined || own === event.deploymentId)) refresh();
    };
    // Beside a log, the events of its deployment come from there (log/source.js).
    if (own === undefined || !document.querySelector("log-view")) {
      this.#end = subscribe(take);
      return;
    }
    const heard = (/** @type {Event} */ event) => take(/** @type {CustomEvent} */ (event).detail);
    document.addEventListener("panda:event", heard);
    this.#end = () => document.removeEventListener("panda:event", heard);
  }

  disconnectedCallback() {
    this.#end();
  }
}

/** Loads the view again, now or after the pause; several calls load it once. */
export function refresh() {
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    last = Date.now();
    loading = load();
  }, Math.max(0, last + PAUSE_MS - Date.now()));
}

/** Ends when the view shows what the server had at the time of the call. */
export async function refreshed() {
  await loading;
  last = Date.now();
  await load();
}

async function load() {
  let response;
  try {
    response = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual", cache: "no-store" });
  } catch {
    return;
  }
  if (response.type === "opaqueredirect") {
    sessionEnded();
    return;
  }
  if (!response.ok) return;
  const view = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const region of document.querySelectorAll("live-region[id]")) {
    const next = view.getElementById(region.id);
    if (next) Idiomorph.morph(region, next.innerHTML, { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks: { beforeAttributeUpdated, beforeNodeMorphed } });
  }
  for (const [selector, attribute] of [["title", ""], ["link[rel=icon]", "href"]]) {
    const [old, next] = [document.querySelector(selector), view.querySelector(selector)];
    if (!old || !next) continue;
    if (attribute === "") document.title = next.textContent ?? "";
    else if (old.getAttribute(attribute) !== next.getAttribute(attribute)) old.setAttribute(attribute, next.getAttribute(attribute) ?? "");
  }
  document.dispatchEvent(new CustomEvent("panda:changed"));
}

/** Groups and dialogs stay as the reader opened them. @param {string} name @param {Element} element */
function beforeAttributeUpdated(name, element) {
  return !(name === "open" && (element.localName === "details" || element.localName === "dialog"));
}

/** An element that scripts fill keeps its content. @param {Element} element */
function beforeNodeMorphed(element) {
  return !(element instanceof Element && element.hasAttribute("data-kept"));
}

document.addEventListener("panda:reload", refresh);
customElements.define("live-region", LiveRegion);
