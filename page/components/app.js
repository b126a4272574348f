// Entry of every view. Each import adds one ability to the server's HTML, which is complete without it.
import "./display-settings.js";
import "./local-time.js";
import "./live-region.js";
import "./connection-state.js";
import "./api-form.js";
import "./keyboard.js";

document.documentElement.classList.add("scripts");
