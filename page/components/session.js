// What happens when the server no longer accepts the session: the view stays as it is, with everything that was typed. A sign-in in another tab
// closes the dialog (signed-in.js), and the action can be repeated.
import { t, url } from "./page.js";

const channel = new BroadcastChannel("panda-session");

channel.addEventListener("message", (event) => {
  if (event.data !== "signed-in") return;
  /** @type {HTMLDialogElement | null} */ (document.querySelector("dialog.session"))?.close();
  document.dispatchEvent(new CustomEvent("panda:signed-in"));
});

/** Shows that the session ended, with a link that signs in beside this view. */
export function sessionEnded() {
  if (document.querySelector("dialog.session")) return;
  const dialog = document.createElement("dialog");
  dialog.className = "session";
  const text = document.createElement("p");
  text.id = "session-ended";
  text.textContent = t("session_ended");
  dialog.setAttribute("aria-labelledby", text.id);
  const link = document.createElement("a");
  link.className = "button primary";
  link.href = url(`/sign-in?next=${encodeURIComponent("/sign-in/done")}`);
  link.target = "panda-sign-in";
  link.textContent = t("sign_in");
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = t("close");
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(text, link, " ", close);
  document.body.append(dialog);
  dialog.showModal();
}

/** Asks the server if it still accepts the session: an event stream does not report why it was refused. */
export async function checkSession() {
  try {
    const response = await fetch(url("/api/v1/deploy?limit=1"), { cache: "no-store" });
    if (response.status === 401) sessionEnded();
    return response.status !== 401;
  } catch {
    return true;
  }
}
