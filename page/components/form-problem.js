// Problems of the API in a form: at the field that the API names, else at the end.
import { t } from "./page.js";

/** @typedef {{ message?: string, field?: string, errorCode?: string, deploymentId?: string, trustPolicy?: object }} Problem */

/** @param {HTMLFormElement} form */
export function clearProblems(form) {
  for (const old of form.querySelectorAll(".problem, .done")) old.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/** @param {HTMLFormElement} form @param {Problem} problem */
export function showProblem(form, problem) {
  const element = document.createElement("div");
  element.className = "problem";
  element.setAttribute("role", "alert");
  element.id = `problem-${form.querySelectorAll(".problem").length}-${Date.now()}`;
  const text = document.createElement("p");
  text.textContent = problem.message ?? t("failed");
  element.append(text);
  const field = problem.field ? find(form, problem.field) : undefined;
  if (field && problem.field) {
    // The field's own name is beside it.
    if (problem.message?.startsWith(`${problem.field}: `)) text.textContent = problem.message.slice(problem.field.length + 2);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", element.id);
    for (let within = field.closest("details"); within; within = within.parentElement?.closest("details") ?? null) within.open = true;
    (field.closest("label") ?? field).after(element);
    field.focus();
  } else {
    form.append(element);
  }
  element.scrollIntoView({ block: "nearest" });
  form.dispatchEvent(new CustomEvent("panda:problem", { bubbles: true, detail: { problem, element } }));
}

/**
 * The field of this name, else the one that holds it: `build.args` for `build.args.NAME`, the group of `build.secrets[]` for `build.secrets[0]`.
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {HTMLElement | undefined}
 */
function find(form, name) {
  for (let part = name; part !== ""; part = part.replace(/(\.|\[|^)[^.[]*$/, "")) {
    const fields = [...form.elements].filter((field) => [part, `${part}[]`].includes(/** @type {HTMLInputElement} */ (field).name));
    const shown = fields.filter((field) => field.getClientRects().length > 0);
    const found = shown[0] ?? fields.find((field) => !field.matches(":disabled")) ?? fields[0];
    if (!(found instanceof HTMLElement)) continue;
    const group = /** @type {HTMLElement | null} */ (found.closest("fieldset, [data-field]"));
    return group && found.matches("[type=hidden], [name$='[]']") ? group : found;
  }
  return undefined;
}
