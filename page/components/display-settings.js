// Language, theme and time zone: cookies, so that the server's first paint has them.
import { base } from "./page.js";

const YEAR = 365 * 24 * 3600;

class DisplaySettings extends HTMLElement {
  connectedCallback() {
    setCookie("panda_zone", Intl.DateTimeFormat().resolvedOptions().timeZone);
    const language = /** @type {HTMLAnchorElement | null} */ (this.querySelector("[data-lang]"));
    language?.addEventListener("click", (event) => {
      event.preventDefault();
      setCookie("panda_lang", language.hreflang);
      const address = new URL(location.href);
      address.searchParams.delete("lang");
      location.replace(address);
    });
    this.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
      const root = document.documentElement;
      const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      setCookie("panda_theme", root.dataset.theme);
    });
  }
}

/** @param {string} name @param {string} value */
function setCookie(name, value) {
  document.cookie = `${name}=${value}; Path=${base || "/"}; Max-Age=${YEAR}; SameSite=Lax`;
}

customElements.define("display-settings", DisplaySettings);
