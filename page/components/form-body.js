// What a form sends: path and JSON body. Names with dots become objects, `[0]` their lists, `[]` at the end makes lists. `data-type` is `number`, `boolean`, `lines` (a list
// of words), `pairs` (an object of NAME=value lines) `time` (the browser's local time as RFC 3339) or `json`. Empty and disabled fields are left out, and those with `data-local`, which only steer the form.

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
    const path = name.replace(/\[\]$/, "").replace(/\[(\d+)\]/g, ".$1").split(".");
    const last = /** @type {string} */ (path.pop());
    const into = path.reduce((object, key, at) => (object[key] ??= /^\d+$/.test(path[at + 1] ?? last) ? [] : {}), body);
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
    case "time": return instant(value);
    case "json": return parsed(value);
    default: return value;
  }
}

/** What is no time is sent as it is, so that the API names the field. @param {string} local */
function instant(local) {
  const at = new Date(local);
  return Number.isNaN(at.getTime()) ? local : at.toISOString();
}

/** What is no JSON is sent as a text, which the API refuses with the name of the field. @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
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
