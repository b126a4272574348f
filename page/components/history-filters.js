// The filters of the history: names of time zones, and the browser's zone for a reader whose address names none.

class HistoryFilters extends HTMLElement {
  connectedCallback() {
    const zones = this.querySelector("datalist");
    if (!zones) return;
    for (const name of ["UTC", ...Intl.supportedValuesOf("timeZone")]) {
      const option = document.createElement("option");
      option.value = name;
      zones.append(option);
    }
  }
}

/** The view in the browser's zone replaces the one that the server could only show in UTC. The cookie of `display-settings` prevents this next time. */
function useOwnZone() {
  const address = new URL(location.href);
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const shown = document.querySelector("history-filters")?.getAttribute("data-zone");
  if (address.searchParams.get("tz") || !own || own === shown) return;
  address.searchParams.set("tz", own);
  location.replace(address);
}

useOwnZone();
customElements.define("history-filters", HistoryFilters);
