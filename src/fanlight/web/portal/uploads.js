// Files on their way into a folder of My Files. They go on while the panel is closed, over cuts of the network, and until
// the server says that they are saved. What a page left in the middle goes on in another one that has the same file.

import { ApiError } from "./api.js";
import { toast, wait } from "./dom.js";
import { encoded } from "./home_api.js";
import { readable } from "./names.js";

const PIECE_IN_BYTES = 8 * 1024 * 1024;
const AT_ONCE = 2;
const FIRST_PAUSE_IN_MS = 500;
const LONGEST_PAUSE_IN_MS = 8000;
const RATE_OVER_MS = 4000;
// What the server will not change its mind about, unless somebody does something.
const FINAL = new Set(["QUOTA", "NO_SPACE", "BAD_PATH", "NOT_FOUND", "TOO_LONG", "OTHER_FILE", "IS_FOLDER", "FORBIDDEN", "NO_SESSION", "NOT_SIGNED_IN", "BAD_REQUEST", "TOO_LARGE", "NOT_OFFERED"]);

const ASK_AGAIN_AFTER_MS = 2000;
const END_IN_BYTES = 64 * 1024;

/** What tells a file from another one of its name, as far as can be told without reading all of it; "" when it cannot be read. */
async function fingerprintOf(file) {
  try {
    const parts = [`${file.size} ${file.lastModified} `, file.slice(0, END_IN_BYTES), file.slice(Math.max(0, file.size - END_IN_BYTES))];
    const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  } catch {
    return "";
  }
}

/** A name as the server takes it: without control characters, and without blanks around it. */
const cleaned = (name) => name.replace(/[\u0000-\u001f\u007f]/g, "_").trim() || "unnamed";

class Upload {
  /** `folder` is a path on the wire, `known` a promise of what was begun before. `state`: waiting, sending, offline, asking,
   *  saving, saved, failed, cancelled. */
  constructor(api, file, folder, known, changed) {
    this.id = crypto.randomUUID();
    this.api = api;
    this.file = file;
    this.known = known;
    this.fingerprint = "";
    this.name = cleaned(file.name);
    this.folder = folder;
    this.conflict = "ask";
    this.state = "waiting";
    this.sent = 0;
    this.words = "";
    this.abort = new AbortController();
    this.samples = [];
    this.changed = changed;
  }

  get path() { return this.folder ? `${this.folder}/${encoded(this.name)}` : encoded(this.name); }

  get isOver() { return this.state === "saved" || this.state === "failed" || this.state === "cancelled"; }

  become(state, words = "") {
    if (this.state === "cancelled") return;
    this.state = state;
    this.words = words;
    this.changed(this);
  }

  progressed(sent) {
    const now = performance.now();
    this.sent = Math.min(sent, this.file.size);
    this.samples = [...this.samples.filter(({ at }) => now - at < RATE_OVER_MS), { at: now, sent: this.sent }];
    this.changed(this);
  }

  /** Seconds to go, null while nobody knows. */
  get secondsLeft() {
    const [first] = this.samples;
    const last = this.samples.at(-1);
    const rate = first && last.at - first.at > 500 ? (last.sent - first.sent) / (last.at - first.at) : 0;
    return rate > 0 ? (this.file.size - this.sent) / rate / 1000 : null;
  }

  /** Answer the question what to do about the file that has this name: replace, keep-both, or null to leave it. */
  decide(conflict) {
    this.conflict = conflict;
    this.decided?.();
  }

  cancel() {
    const wasSaved = this.state === "saved";
    this.become("cancelled");
    this.abort.abort();
    this.decide(null);
    if (!wasSaved) this.api.drop(this.id).catch(() => {}); // it is dropped by itself before long
  }

  /** Take up what was begun before with this very file. Another one that was to have this name is given up. */
  async recognize() {
    this.fingerprint = await fingerprintOf(this.file);
    const same = (await this.known).find(({ path, isComing }) => path === this.path && !isComing);
    if (!same) return;
    if (same.size === this.file.size && same.fingerprint && same.fingerprint === this.fingerprint) {
      this.id = same.id;
      this.wentOnAt = same.received;
    } else {
      await this.api.drop(same.id).catch(() => {});
      toast(`${readable(this.name)} is not the file that was being uploaded under this name: it begins anew.`, "warning");
    }
  }

  async run() {
    await this.recognize();
    let offset = null; // unknown: ask
    let pause = FIRST_PAUSE_IN_MS;
    while (!this.isOver) {
      try {
        const answer = await this.step(offset);
        pause = FIRST_PAUSE_IN_MS;
        offset = answer.state === "RECEIVING" ? answer.received : null;
        this.progressed(answer.received);
        if (answer.state === "SAVED") this.become("saved", "Saved");
        else if (answer.state === "SAVING") this.become("saving", "Saving…");
      } catch (error) {
        if (error.name === "AbortError") return;
        offset = null;
        if (error.code === "EXISTS" && this.conflict !== "replace") await this.ask();
        else if (!(error instanceof ApiError) || FINAL.has(error.code)) this.become("failed", error.message);
        else if (await this.isUnreadable()) this.become("failed", "The file on this device cannot be read any more.");
        else {
          this.samples = [];
          this.become("offline", error.code === "OFFLINE" ? "No connection. It goes on by itself." : `${error.message} Trying again…`);
          await wait(pause);
          pause = Math.min(pause * 2, LONGEST_PAUSE_IN_MS);
        }
      }
    }
  }

  step(offset) {
    const { api, path, conflict, fingerprint, file: { size } } = this;
    if (offset === null) return api.piece(this.id, { path, size, offset: 0, conflict, fingerprint }, new Blob([]), () => {}, this.abort.signal);
    this.become(offset + PIECE_IN_BYTES >= size && this.sent >= size ? "saving" : "sending");
    const blob = this.file.slice(offset, offset + PIECE_IN_BYTES);
    return api.piece(this.id, { path, size, offset, conflict, fingerprint }, blob, (bytes) => {
      this.progressed(offset + bytes);
      if (offset + bytes >= size) this.become("saving", "Saving…");
    }, this.abort.signal);
  }

  async ask() {
    const decision = new Promise((done) => { this.decided = done; });
    this.become("asking", "There is a file with this name already.");
    await decision;
    if (this.conflict === null) this.become("cancelled");
    else this.become("sending");
  }

  async isUnreadable() {
    try {
      await this.file.slice(0, 1).arrayBuffer();
      return false;
    } catch {
      return true;
    }
  }
}

/** All uploads of this page. Listeners hear each change: listener(upload). */
class Uploads {
  constructor() {
    this.all = [];
    this.asked = new Map(); // api → {at, begun}
    this.listeners = new Set();
    window.addEventListener("beforeunload", (event) => { if (this.active.length) event.preventDefault(); });
  }

  get active() { return this.all.filter((upload) => !upload.isOver); }

  add(api, files, folder) {
    const known = this.begunBefore(api);
    for (const file of files) this.all.push(new Upload(api, file, folder, known, (upload) => this.changed(upload)));
    this.changed(null);
    this.next();
  }

  /** What was begun through `api` and is not this page's. A tree of folders comes file by file: it is asked once for many. */
  begunBefore(api) {
    const last = this.asked.get(api);
    if (last && performance.now() - last.at < ASK_AGAIN_AFTER_MS) return last.begun;
    const mine = new Set(this.all.map(({ id }) => id));
    const begun = api.unfinished().then(({ uploads: all }) => all.filter(({ id }) => !mine.has(id)), () => []);
    this.asked.set(api, { at: performance.now(), begun });
    return begun;
  }

  retry(upload) {
    this.all = this.all.filter((one) => one !== upload);
    this.asked.delete(upload.api); // what came of it is known there by now
    this.add(upload.api, [upload.file], upload.folder);
  }

  forget(upload) {
    if (upload.state === "failed") upload.api.drop(upload.id).catch(() => {});
    this.all = this.all.filter((one) => one !== upload);
    this.changed(null);
  }

  forgetFinished() {
    for (const upload of this.all.filter(({ isOver }) => isOver)) this.forget(upload);
  }

  next() {
    const busy = this.all.filter(({ isRunning, isOver, state }) => isRunning && !isOver && state !== "asking").length;
    const free = this.all.filter(({ state, isRunning }) => state === "waiting" && !isRunning).slice(0, Math.max(0, AT_ONCE - busy));
    for (const upload of free) {
      upload.isRunning = true;
      upload.run().finally(() => this.next());
    }
  }

  changed(upload) {
    if (upload?.state === "asking") this.next();
    for (const listener of this.listeners) listener(upload);
  }
}

export const uploads = new Uploads();
