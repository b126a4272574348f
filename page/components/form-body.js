// What a form sends: path and JSON body. Names with dots become objects, `[]` at the end makes lists. `data-type` is `number`, `boolean`, `lines` (a list
// of words) or `pairs` (an object of NAME=value lines). Empty and disabled fields are left out, and those with `data-local`, which only steer the form.

/**
 * Replaces `{name}` in a path by the field of that name.
 * @param {HTMLFormElement} form
 * @param {string} pattern
 */
export function fill(form, pattern) {
  /** @type {Set<string>} */
  const used = new Set();
  const path = pattern.replace(/\{(\w+)\}/g, (_, name) => {
    used.add(name);
    const field = form.elements.namedItem(name);
    // A dot alone would be resolved away with the part of the path before it.
    const value = (field instanceof HTMLInputElement ? field.value : "").replace(/^\.+$/, "");
    return encodeURIComponent(value) || "%20";
  });
  return { path, used };
}

/**
 * @param {HTMLFormElement} form
 * @param {Set<string>} [except] names of fields that are part of the path
 */
export function read(form, except = new Set()) {
  /** @type {Record<string, any>} */
  const body = {};
  for (const element of form.elements) {
    const field = /** @type {HTMLInputElement} */ (element);
    const { name, value, type, checked } = field;
    const isLeftOut = !name || except.has(name) || value === "" || "local" in field.dataset || field.matches(":disabled");
    if (isLeftOut || ((type === "checkbox" || type === "radio") && !checked)) continue;
    const path = name.replace(/\[\]$/, "").split(".");
    const last = /** @type {string} */ (path.pop());
    const into = path.reduce((object, key) => (object[key] ??= {}), body);
    if (name.endsWith("[]")) (into[last] ??= []).push(value);
    else into[last] = member(field);
  }
  return body;
}

/** @param {HTMLInputElement} field */
function member({ value, checked, dataset }) {
  switch (dataset.type) {
    case "number": return Number(value);
    case "boolean": return value === "true" || checked;
    case "lines": return value.split(/\s+/).filter((item) => item !== "");
    case "pairs": return pairs(value);
    default: return value;
  }
}

/** A line without `=` is a name without value, which the API refuses if it is not one. @param {string} text */
function pairs(text) {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, "")).filter((line) => line.trim() !== "");
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1)];
  }));
}
