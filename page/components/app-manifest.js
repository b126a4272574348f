// Creates a GitHub App. Around the form that begins one: posts the answer's manifest to GitHub. Around the form that finishes one (`data-once`): sends it by
// itself, after code and state have left the address of the page, and then leads to the page at GitHub that installs the App.

class AppManifest extends HTMLElement {
  connectedCallback() {
    this.addEventListener("panda:done", (event) => {
      const { address, manifest, installationAddress } =
        /** @type {CustomEvent<{ address: string, manifest?: object, installationAddress?: string }>} */ (event).detail;
      if (manifest) post(address, JSON.stringify(manifest));
      else if (installationAddress) location.assign(installationAddress);
    });
    if (!("once" in this.dataset)) return;
    history.replaceState(null, "", location.pathname);
    // The form's element may be defined later than this one.
    customElements.whenDefined("api-form").then(() => { this.querySelector("form")?.requestSubmit(); });
  }
}

/**
 * @param {string} address
 * @param {string} manifest
 */
function post(address, manifest) {
  const [form, field] = [document.createElement("form"), document.createElement("input")];
  form.method = "post";
  form.action = address;
  field.type = "hidden";
  field.name = "manifest";
  field.value = manifest;
  form.append(field);
  document.body.append(form);
  form.submit();
}

customElements.define("app-manifest", AppManifest);
