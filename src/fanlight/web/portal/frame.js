// Between the stream client and the session page: tells the page how the stream is, and sends keys for it.
// The client speaks by messages to its own window; this passes on the few that the page shows.

// In a frame of another site's page a browser may deny the storage where the client keeps its choices, and the client
// would stop there. It gets one that forgets them with the page.
function forgetfulStorage() {
  const kept = new Map();
  return {
    get length() { return kept.size; },
    key: (index) => [...kept.keys()][index] ?? null,
    getItem: (name) => kept.get(String(name)) ?? null,
    setItem: (name, value) => { kept.set(String(name), String(value)); },
    removeItem: (name) => { kept.delete(String(name)); },
    clear: () => kept.clear(),
  };
}

for (const name of ["localStorage", "sessionStorage"]) {
  try {
    void window[name];
  } catch {
    Object.defineProperty(window, name, { value: forgetfulStorage(), configurable: true });
  }
}

const PASSED_ON = new Set(["clipboardContentUpdate", "fileUpload", "printDocument", "serverSettings"]);
const CHECK_IN_MS = 150;
// The client would show what an application printed in a frame of this origin; the page offers it instead.
const QUIET_PRINTING = { type: "settings", settings: { print_auto: false } };
const LONE_ACCENT = /^[\^`~\p{Sk}\u00b7\u037a\u0387]$/u;

let socket = null;
let isOpen = false;
let told = "";

const tell = (message) => parent.postMessage({ from: "fanlight-frame", ...message }, location.origin);

function isShowing() {
  // The client hides its own status line with the first frame, and shows it again when the stream is lost.
  const status = document.getElementById("status-display");
  return status !== null && status.classList.contains("hidden");
}

function check() {
  const state = !isOpen ? "disconnected" : isShowing() ? "streaming" : "connected";
  if (state !== told) {
    told = state;
    tell({ type: "state", state });
  }
}

function watch(next) {
  socket = next;
  if (!next) return;
  next.addEventListener("open", () => { isOpen = true; check(); window.fanlight.ask(QUIET_PRINTING); });
  next.addEventListener("close", () => { if (socket === next) { isOpen = false; check(); } });
  next.addEventListener("message", (event) => {
    if (typeof event.data !== "string") return;
    if (event.data.startsWith("KILL ")) tell({ type: "killed" });
    const [word, direction, length, limit] = event.data.slice(0, 80).split(",");
    if (word === "fanlight_copy_too_long") tell({ type: "client", message: { type: "copyTooLong", direction, length: Number(length), limit: Number(limit) } });
  });
}

// The client loads its sound worklets from data: URLs. To allow those would allow any markup to bring a script; a blob
// can only be made by a script that is here already.
const worklets = globalThis.AudioWorklet?.prototype ?? {};
const loadWorklet = worklets.addModule;
worklets.addModule = async function addModule(url, options) {
  if (!String(url).startsWith("data:text/javascript")) return loadWorklet.call(this, url, options);
  const source = decodeURIComponent(String(url).slice(String(url).indexOf(",") + 1));
  const blob = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    return await loadWorklet.call(this, blob, options);
  } finally {
    URL.revokeObjectURL(blob);
  }
};

// The client announces every socket that it opens by assigning this.
Object.defineProperty(window, "selkiesTransport", { get: () => socket, set: watch, configurable: true });
window.__SELKIES_STREAMING_MODE__ = "websockets";

window.addEventListener("message", (event) => {
  if (event.origin === location.origin && event.source === window && PASSED_ON.has(event.data?.type)) {
    tell({ type: "client", message: event.data });
  }
});

// The client types a composition while it grows and takes back what changed. Of a dead key that would be a lone accent and
// a BackSpace, which a terminal that knows no UTF-8 turns into half a character: wait for the letter instead.
window.addEventListener("compositionupdate", (event) => {
  if (LONE_ACCENT.test(event.data)) event.stopImmediatePropagation();
}, true);

// The way out of the stream with the keyboard alone; everything else belongs to the application.
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.altKey && event.code === "Home") {
    event.preventDefault();
    event.stopImmediatePropagation();
    tell({ type: "focus-toolbar" });
  }
}, true);

new MutationObserver(check).observe(document.getElementById("app"), {
  subtree: true, childList: true, attributes: true, attributeFilter: ["class"],
});
setInterval(check, CHECK_IN_MS);

window.fanlight = {
  canUpload: true,
  /** Press keysyms in order, release them in reverse. */
  press(keysyms) {
    if (!socket || !isOpen) return;
    for (const keysym of keysyms) socket.send(`kd,${keysym}`);
    for (const keysym of [...keysyms].reverse()) socket.send(`ku,${keysym}`);
  },
  /** Ask the client for something, in its own words. */
  ask(message) { window.postMessage(message, location.origin); },
  chooseUploads() { window.dispatchEvent(new CustomEvent("requestFileUpload")); },
  focus() {
    window.focus();
    document.getElementById("overlayInput")?.focus({ preventScroll: true });
  },
  statistics() {
    const latest = window.stream_stats?.latest ?? {};
    return {
      framesPerSecond: window.fps,
      megabits: latest.mbps,
      connection: window.stream_client?.connection,
    };
  },
};
