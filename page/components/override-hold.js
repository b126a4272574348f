// Where a freeze or a window of the policy refuses a form with `data-overridable`, the form asks for the reason that overrides it. The field stays beside
// the problem, which the next attempt removes.
import { t } from "./page.js";

const HOLDS = ["SWITCH_FROZEN", "SWITCH_OUTSIDE_WINDOW"];

document.addEventListener("panda:problem", (event) => {
  const form = event.target;
  const { problem, element } = /** @type {CustomEvent<{ problem: import("./form-problem.js").Problem, element: HTMLElement }>} */ (event).detail;
  if (!(form instanceof HTMLFormElement) || !("overridable" in form.dataset) || !HOLDS.includes(problem.errorCode ?? "")) return;
  let input = /** @type {HTMLInputElement | null} */ (form.elements.namedItem("override.reason"));
  if (!input) {
    const label = document.createElement("label");
    label.className = "override";
    label.append(t("hold_override"));
    input = document.createElement("input");
    input.name = "override.reason";
    input.maxLength = 500;
    input.autocomplete = "off";
    label.append(input);
    element.after(label);
  }
  input.focus();
});
