// The stream: a frame of our own origin that holds the stream client, and how it is doing.

import { h, wait } from "./dom.js";
import { cover } from "./views.js";

const RECONNECTING_AFTER_MS = 1200; // shorter gaps the client bridges with its last picture
const LOADING_IN_MS = 5000;
const RELOAD_PAUSE_IN_MS = 700; // a stream server refuses a second socket within half a second

export class Stream {
  /** Loads at once, out of sight: while the session starts, the client does, and its socket waits at the gateway. */
  constructor(stage, title) {
    this.on = null;
    this.stage = stage;
    this.state = "connecting";
    this.cover = null;
    this.timer = 0;
    this.frame = h("iframe", {
      title: `${title}: the applications`,
      allow: "autoplay; clipboard-read; clipboard-write; fullscreen; gamepad; keyboard-map; microphone; screen-wake-lock",
    });
    this.frame.addEventListener("load", () => { this.hasLoaded = true; });
    this.listener = (event) => this.heard(event);
    window.addEventListener("message", this.listener);
    this.load();
    stage.inert = true; // what waits out of sight must not take the focus
    stage.replaceChildren(this.frame);
    stage.hidden = false;
  }

  /** Come into sight. `on` has streaming(), lost(), killed(), client(message), focusToolbar(). */
  show(on) {
    this.on = on;
    this.stage.inert = false;
    if (this.state === "streaming") this.became(this.state);
    else this.gone(true);
  }

  /** What the frame offers; null while it loads, and when it could not be loaded. */
  get inside() {
    if (!this.hasLoaded) return null;
    try {
      return this.frame.contentWindow?.fanlight ?? null;
    } catch {
      return null; // the browser's own error page is of another origin
    }
  }

  /** The gateway answers: load the frame anew if it had been loaded, or reloaded itself, while the gateway was away. */
  revive() {
    const isLoading = performance.now() - this.loadedAt < LOADING_IN_MS;
    if (!this.inside && !isLoading) this.load();
  }

  load() {
    this.loadedAt = performance.now();
    this.hasLoaded = false;
    this.frame.src = "stream/";
  }

  heard(event) {
    if (event.origin !== location.origin || event.source !== this.frame.contentWindow) return;
    if (event.data?.from !== "fanlight-frame") return;
    const { type, state, message } = event.data;
    if (type === "state") this.became(state);
    else if (!this.on) return;
    else if (type === "killed") this.on.killed();
    else if (type === "client") this.on.client(message);
    else if (type === "focus-toolbar") this.on.focusToolbar();
  }

  became(state) {
    this.state = state;
    if (!this.on) return; // not in sight yet
    document.body.dataset.stream = state;
    if (state === "streaming") {
      clearTimeout(this.timer);
      this.timer = 0;
      this.cover?.close();
      this.cover = null;
      this.on.streaming();
    } else if (state === "disconnected") {
      this.gone(false);
    }
  }

  gone(isFirst) {
    if (this.timer || this.cover) return;
    this.timer = setTimeout(() => {
      this.cover = isFirst
        ? cover(this.stage, "Connecting…", "The first picture is on its way.")
        : cover(this.stage, "Reconnecting…", "The connection was lost. Your applications go on; this page comes back by itself.");
      if (!isFirst) this.on.lost();
    }, RECONNECTING_AFTER_MS);
  }

  focus() {
    this.frame.focus();
    this.inside?.focus();
  }

  async reload() {
    await wait(RELOAD_PAUSE_IN_MS);
    this.load();
  }

  close() {
    clearTimeout(this.timer);
    window.removeEventListener("message", this.listener);
    this.stage.replaceChildren();
    this.stage.hidden = true;
    delete document.body.dataset.stream;
  }
}
