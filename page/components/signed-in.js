// The end of a sign-in beside another tab: reports to it, and closes this one where the browser allows that.
new BroadcastChannel("panda-session").postMessage("signed-in");
window.close();
