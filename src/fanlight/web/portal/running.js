// A running session on the page: the stream, its toolbar and panels.

import { api } from "./api.js";
import { DRIVES } from "./drives.js";
import { inFiles, inSize, inWords, notice, toast, wait } from "./dom.js";
import { clipboardPanel, closePanel, confirmEnd, keyboardPanel, launcherPanel, morePanel, qualityPanel, togglePanel } from "./panels.js";
import { UPLOADED } from "./home_folder.js";
import { myFilesPanel } from "./my_files.js";
import { isOpening, OpeningNote } from "./opening.js";
import { offerPrinted, tellTooLong } from "./transfers.js";
import { Toolbar } from "./toolbar.js";

const FIRST_PING_AFTER_MS = 1500;
const PING_EVERY_MS = 8000;
const GOOD_BELOW_MS = 80;
const FAIR_BELOW_MS = 200;
const IDLE_WARNING_IN_SECONDS = 60;
// Enough to save what is open; hidden by the user, the warning comes once more before the end.
const END_WARNINGS_IN_SECONDS = [60, 300];
const IDLE_LOOK_EVERY_SECONDS = 5; // while the warning stands, so that it goes soon after a key was pressed

const FOLDERS = { HOMEFOLDERS: "Your home folder", ...DRIVES };
const SETTINGS = "APPLICATION_SETTINGS";
const SETTINGS_AWAY = "The settings of your applications cannot be reached. They are as they were for a new user, and what you change of them is not kept.";
const SETTINGS_LOST = "The settings of your applications could not be used. They are as they were for a new user.";

export class Running {
  /** `stream` was prepared while the session started. `to` has onEnd(), onKilled(), onStale() → the watch's answer, read now. */
  constructor(stream, catalog, session, now, to) {
    this.stream = stream;
    this.catalog = catalog;
    this.to = to;
    this.isClosed = false;
    this.received = "";
    this.delay = null;
    this.openingNote = new OpeningNote();
    this.update(session, now);
    this.toolbar = new Toolbar(catalog, this.actions());
    this.showFolders();
    this.tellOfLosses();
    this.stream.show({
      streaming: () => this.streaming(),
      lost: () => this.toolbar.setQuality("lost", "reconnecting"),
      killed: () => this.to.onKilled(),
      client: (message) => this.heard(message),
      focusToolbar: () => this.toolbar.focus(),
    });
    this.tick();
    this.measure();
  }

  update(session, now) {
    this.session = session;
    this.features = new Set(session.features);
    if (session.hasScriptFailed && !this.hasToldOfScripts) toast("Something that your administrator set up for the start of this session failed. You can work, but parts of it may be missing.", "warning");
    this.hasToldOfScripts = session.hasScriptFailed;
    this.clockOffset = now - Date.now() / 1000;
    this.tellOfSettings();
    this.tellOfSaving();
    if (this.toolbar) this.showFolders();
  }

  tellOfSettings() {
    const settings = this.session.folders.find(({ kind }) => kind === SETTINGS);
    const words = settings?.state === "OFFLINE" ? SETTINGS_AWAY : settings?.hasTrouble ? SETTINGS_LOST : "";
    if (words && !this.hasToldOfSettings) toast(words, "warning");
    this.hasToldOfSettings ||= Boolean(words);
  }

  showFolders() {
    const folders = this.session.folders.filter(({ kind, state, unsentFiles }) => kind in FOLDERS && !(kind in DRIVES && this.waits(kind, state, unsentFiles)));
    this.toolbar.showFolders(folders);
    this.openingNote.show(folders, FOLDERS);
    const named = (some) => some.map(({ kind }) => FOLDERS[kind]).join(" and ");
    const full = named(folders.filter(({ isFull }) => isFull));
    const offline = named(folders.filter(({ state, isFull }) => state === "OFFLINE" && !isFull));
    const disabled = named(folders.filter(({ state }) => state === "DISABLED"));
    const words = [
      full && `${full} is full. Remove something there: your changes are sent when there is room.`,
      disabled && `${disabled} was switched off by your administrator. What you save there now is kept in this session, and sent when it ends.`,
      offline && `${offline} cannot be reached. Your changes are kept and sent later.`,
    ].filter(Boolean).join(" ");
    if (words === (this.offlineWords ?? "")) return;
    this.offlineWords = words;
    this.offlineWarning?.close();
    this.offlineWarning = words ? notice(() => { this.offlineWarning = null; }) : null;
    this.offlineWarning?.say(words);
  }

  /** Whether a drive was not connected since this page is here. It is away then, but nobody misses it. */
  waits(kind, state, unsentFiles) {
    this.connected ??= new Set();
    if (state === "MOUNTED" || unsentFiles) this.connected.add(kind);
    if (this.connected.has(kind)) return false;
    if (!this.hasToldOfDrives && state === "OFFLINE") {
      this.hasToldOfDrives = true;
      toast("This session can show your own drive: connect it under My Files.");
    }
    return true;
  }

  /** Who comes back early may miss files that are still on their way; it goes when they are there. */
  tellOfSaving() {
    const left = this.session.savingBefore;
    if (!left) {
      this.savingWarning?.close();
      this.savingWarning = null;
      this.hidesSaving = false;
      return;
    }
    if (this.hidesSaving) return;
    this.savingWarning ??= notice(() => { this.savingWarning = null; this.hidesSaving = true; }, "note");
    this.savingWarning.say(`${inFiles(left.count)} (${inSize(left.size)}) of your last session ${left.count === 1 ? "is" : "are"} still being saved, and will appear by ${left.count === 1 ? "itself" : "themselves"}.`);
  }

  /** What an earlier session could not save is told in the next one, until the user has read it. */
  tellOfLosses() {
    const lost = this.session.lostBefore;
    if (!lost) return;
    this.lossWarning = notice(() => { this.lossWarning = null; });
    this.lossWarning.say(`${inFiles(lost.count)} (${inSize(lost.size)}) of your last session could not be saved.`);
  }

  actions() {
    const has = (...names) => names.some((name) => this.features.has(name));
    const panel = (id, title, content, onClose) => (button) => togglePanel(id, title, button, content(), onClose);
    const all = [
      this.catalog.applications.length && { id: "apps", label: "Applications", icon: "apps", isFirst: true, run: panel("apps", "Applications", () => launcherPanel(this.catalog, (app) => this.launch(app))) },
      has("CLIPBOARD_COPY_FROM_LOCAL_DEVICE", "CLIPBOARD_COPY_TO_LOCAL_DEVICE") && { id: "clipboard", label: "Clipboard", icon: "clipboard", isFirst: true, run: panel("clipboard", "Clipboard", () => clipboardPanel(this.stream, this.features, this.received)) },
      (has("FILE_UPLOAD", "FILE_DOWNLOAD") || (this.session.folders ?? []).some(({ kind }) => kind in DRIVES)) && { id: "files", label: "My Files", icon: "files", run: panel("files", "My Files", () => myFilesPanel(this.stream, this.features, this.session)) },
      { id: "keyboard", label: "Keyboard", icon: "keyboard", isFirst: true, run: panel("keyboard", "Keyboard", () => keyboardPanel(this.stream)) },
      { id: "fullscreen", label: "Full screen", icon: "fullscreen", run: () => this.fullScreen() },
      { id: "quality", label: "Connection", icon: "quality", run: (button) => this.showQuality(button) },
      this.catalog.feedbackUrl && { id: "feedback", label: "Send feedback", icon: "feedback", run: () => window.open(this.catalog.feedbackUrl, "_blank", "noopener,noreferrer") },
      { id: "end", label: "End session", icon: "end", run: () => this.end() },
    ].filter(Boolean);
    const hidden = all.filter((action) => !action.isFirst);
    return [...all, { id: "more", label: "More", icon: "more", isFirst: true, run: panel("more", "More", () => morePanel(hidden)) }];
  }

  streaming() {
    if (!this.wasStreaming) performance.mark("fanlight-first-frame");
    this.wasStreaming = true;
    this.showDelay();
    if (document.activeElement === document.body || document.activeElement?.tagName === "MAIN") this.stream.focus();
  }

  heard(message) {
    if (message.type === "clipboardContentUpdate" && typeof message.text === "string") this.received = message.text;
    if (message.type === "copyTooLong") tellTooLong(message);
    if (message.type === "printDocument") offerPrinted(message);
    if (message.type !== "fileUpload") return;
    const { status, fileName, message: why } = message.payload ?? {};
    if (status === "start") toast(`Uploading ${fileName}…`);
    else if (status === "end") {
      toast(`${fileName} is uploaded.`);
      document.dispatchEvent(new Event(UPLOADED));
    } else if (status === "error") toast(`${fileName} was not uploaded: ${why}`, "warning");
  }

  async launch(application) {
    toast(`Starting ${application.name}…`);
    try {
      await api.launch(this.session.handle, application.id);
    } catch (error) {
      toast(`${application.name} did not start: ${error.message}`, "warning");
    }
    this.stream.focus();
  }

  async end() {
    closePanel();
    if (await confirmEnd()) this.to.onEnd();
    else this.stream.focus();
  }

  async fullScreen() {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    try {
      await document.documentElement.requestFullscreen({ navigationUI: "hide" });
      await navigator.keyboard?.lock?.();
      this.stream.focus();
    } catch {
      toast("This browser does not allow full screen here.", "warning");
    }
  }

  showQuality(button) {
    this.stream.inside?.ask({ type: "statsOpen", open: true });
    togglePanel("quality", "Connection", button, qualityPanel(() => this.readings()), () =>
      this.stream.inside?.ask({ type: "statsOpen", open: false }));
  }

  readings() {
    const { framesPerSecond, megabits } = this.stream.inside?.statistics() ?? {};
    const number = (value, unit) => (Number.isFinite(value) ? `${value} ${unit}` : "–");
    return [
      ["Delay", number(this.delay, "ms")],
      ["Pictures", number(framesPerSecond, "per second")],
      ["Data", number(megabits, "Mbit/s")],
      ["State", { streaming: "streaming", connected: "waiting for a picture", connecting: "connecting" }[this.stream.state] ?? "reconnecting"],
    ];
  }

  /** Whether the gateway answers; the stream's own socket may well go on when it does not. */
  reachable(isReachable) {
    if (isReachable) this.stream.revive();
    if (!isReachable) this.toolbar.setQuality("lost", "reconnecting");
    else if (this.toolbar.quality.dataset.level === "lost" && this.stream.state === "streaming") this.showDelay();
  }

  showDelay() {
    const isPoor = this.stream.inside?.statistics().connection === "poor";
    if (this.delay === null) this.toolbar.setQuality("good", "");
    else {
      const level = isPoor || this.delay >= FAIR_BELOW_MS ? "poor" : this.delay >= GOOD_BELOW_MS ? "fair" : "good";
      this.toolbar.setQuality(level, `${this.delay} ms`);
    }
  }

  async measure() {
    await wait(FIRST_PING_AFTER_MS); // the first picture must not wait for it
    while (!this.isClosed) {
      try {
        await api.ping(); // the first may open a connection; the second measures
        this.delay = Math.max(1, Math.round(await api.ping()));
        this.stream.revive();
        if (this.stream.state === "streaming") this.showDelay();
      } catch {
        // Unreachable: the watch of the session says so.
      }
      await wait(PING_EVERY_MS);
    }
  }

  async tick() {
    while (!this.isClosed) {
      const now = Date.now() / 1000 + this.clockOffset;
      this.toolbar.timeLeft(this.session.maxExpiresAt - now);
      this.warnOfEnd(this.session.maxExpiresAt - now);
      this.warnOfIdleness(this.session.idleDisconnectAt === null ? Infinity : this.session.idleDisconnectAt - now);
      if (this.session.folders.some(isOpening)) this.lookAgain();
      await wait(1000);
    }
  }

  /** The longest duration is nearly over: say so until it is, or the user has read it. */
  warnOfEnd(seconds) {
    const limit = END_WARNINGS_IN_SECONDS.find((each) => seconds <= each);
    if (!limit || this.hiddenEndWarning === limit) {
      this.endWarning?.close();
      this.endWarning = null;
      return;
    }
    this.endLimit = limit;
    this.endWarning ??= notice(() => {
      this.hiddenEndWarning = this.endLimit;
      this.endWarning = null;
    });
    const left = seconds >= 60 ? inWords(seconds) : `${Math.max(10, Math.ceil(seconds / 10) * 10)}\u00a0s`;
    this.endWarning.say(`This session ends in ${left}. Save your work. It has then lasted as long as this fleet allows.`);
  }

  warnOfIdleness(seconds) {
    // Where a minute is all there is, whoever pauses to read would be warned all the time.
    const limit = Math.min(IDLE_WARNING_IN_SECONDS, this.session.idleDisconnectInSeconds / 2 || Infinity);
    if (seconds > limit) {
      this.idleWarning?.close();
      this.idleWarning = null;
      return;
    }
    this.idleWarning ??= notice();
    const left = Math.max(10, Math.ceil(seconds / 10) * 10); // read aloud at each change, hence not every second
    this.idleWarning.say(`You will be disconnected in ${left}\u00a0s because of inactivity. Press a key or move the pointer to stay.`);
    if (Math.ceil(seconds) % IDLE_LOOK_EVERY_SECONDS === 0) this.lookAgain();
  }

  async lookAgain() {
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      const answer = await this.to.onStale();
      if (answer.session && !this.isClosed) this.update(answer.session, answer.now);
    } catch {
      // The watch of the session says what is wrong.
    } finally {
      this.isLooking = false;
    }
  }

  close() {
    this.isClosed = true;
    this.idleWarning?.close();
    this.endWarning?.close();
    this.offlineWarning?.close();
    this.lossWarning?.close();
    this.savingWarning?.close();
    this.openingNote.close();
    closePanel();
    this.toolbar.close();
    this.stream.close();
    if (document.fullscreenElement) document.exitFullscreen();
  }
}
