// Buttons that open and close dialogs: `data-opens` names the dialog, `data-closes` closes the one around it.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-opens], [data-closes]") : null;
  if (!(button instanceof HTMLElement)) return;
  if ("closes" in button.dataset) button.closest("dialog")?.close();
  else /** @type {HTMLDialogElement | null} */ (document.getElementById(button.dataset.opens ?? ""))?.showModal();
});
