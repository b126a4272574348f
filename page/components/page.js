// Addresses, language and texts of the page.
const root = document.documentElement;

/** Path before all others, empty or like `/panda`. */
export const base = root.dataset.base ?? "";

/** @type {"ko" | "en"} */
export const lang = root.lang === "ko" ? "ko" : "en";

/** @type {Record<string, string>} */
const texts = (await import(`../texts/${lang}.js`)).default;

/**
 * A text of the catalogue (`src/domain/texts/page.json`, group `script`).
 * @param {string} name
 * @param {Record<string, string | number>} [params]
 */
export function t(name, params = {}) {
  return (texts[name] ?? name).replace(/\{(\w+)\}/g, (_, key) => String(params[key] ?? ""));
}

/** @param {string} path that begins with a slash */
export function url(path) {
  return base + path;
}

/**
 * The value that a person chose earlier; storage may be blocked or full, which loses nothing else.
 * @param {string} key
 * @param {string} otherwise
 */
export function remembered(key, otherwise) {
  try {
    return localStorage.getItem(`panda.${key}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {string} key @param {string} value */
export function remember(key, value) {
  try {
    localStorage.setItem(`panda.${key}`, value);
  } catch {
    // See remembered.
  }
}
