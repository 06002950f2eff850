// The bar above the stream (below it on a phone). Only what the stack allows is on it; the server enforces the same.

import { h, icon, inFiles, inSize, inWords, toast } from "./dom.js";

const bar = document.getElementById("bar");
const handle = document.getElementById("bar-handle");
const WARN_AT_MINUTES = 15;
const LASTING_WARNING_AT_MINUTES = 5; // from then on the page has one that stays

/** actions: [{id, label, icon, isFirst, run(button)}]; isFirst ones stay on a phone's bar, the others go under More. */
export class Toolbar {
  constructor(catalog, actions) {
    this.actions = actions;
    this.clock = h("span.chip.clock", { title: "Time left in this session" });
    this.quality = h("button.chip.quality", { type: "button", "data-level": "unknown", "aria-label": "Connection quality", onclick: () => this.run("quality", this.quality) }, icon("quality"), h("span", {}, ""));
    this.folders = h("span.chip.folders", { hidden: true, role: "img" }, icon("cloud"), h("span", {}, ""));
    this.build(catalog);
    this.isCollapsed = false;
    handle.onclick = () => this.collapse(false);
    handle.replaceChildren(icon("show"));
  }

  build(catalog) {
    const mark = new URL("favicon.svg", import.meta.url).pathname;
    this.buttons = new Map(this.actions.map((action) => [action.id, this.button(action)]));
    const end = this.buttons.get("end");
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", "Session");
    bar.replaceChildren(
      h("span.brand", {}, h("img", { src: mark, alt: "", width: 24, height: 24 }), h("span.brand-name", {}, catalog.stackName)),
      h("span.bar-group.main", {}, [...this.buttons].filter(([id]) => id !== "end").map(([, button]) => button)),
      h("span.bar-group.side", {}, this.folders, this.quality, this.clock, end, this.button({ id: "hide", label: "Hide the toolbar", icon: "hide", run: () => this.collapse(true) })),
    );
    bar.onkeydown = (event) => this.move(event);
    bar.hidden = false;
    document.body.dataset.bar = "shown";
  }

  button({ id, label, icon: picture, isFirst, run }) {
    const made = h("button.tool", { type: "button", "data-action": id, "aria-label": label, title: label, "aria-expanded": id === "hide" || id === "fullscreen" ? null : "false" }, icon(picture), h("span.tool-label", {}, label));
    if (!isFirst) made.classList.add("secondary");
    made.onclick = () => run(made);
    return made;
  }

  run(id, button) {
    this.actions.find((action) => action.id === id)?.run(button ?? this.buttons.get(id));
  }

  /** Arrow keys walk along the bar, as toolbars do. */
  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...bar.querySelectorAll("button")].filter((button) => button.offsetParent !== null);
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next?.focus();
    event.preventDefault();
  }

  collapse(isCollapsed) {
    this.isCollapsed = isCollapsed;
    bar.hidden = isCollapsed;
    handle.hidden = !isCollapsed;
    document.body.dataset.bar = isCollapsed ? "hidden" : "shown";
    (isCollapsed ? handle : bar.querySelector("button"))?.focus();
  }

  focus() {
    if (this.isCollapsed) this.collapse(false);
    bar.querySelector("button:not([hidden])")?.focus();
  }

  /** Show the time left, and warn before it runs out. `now` is the server's clock, epoch seconds. */
  timeLeft(seconds) {
    const minutes = seconds / 60;
    const words = `${inWords(seconds)} left`;
    if (this.clock.textContent !== words) this.clock.replaceChildren(icon("clock"), h("span", {}, words));
    this.clock.dataset.level = minutes <= WARN_AT_MINUTES ? "low" : "ok";
    if (minutes <= WARN_AT_MINUTES && minutes > LASTING_WARNING_AT_MINUTES && !this.hasWarned) {
      this.hasWarned = true;
      toast(`This session ends in ${inWords(seconds)}. Save your work.`, "warning");
    }
  }

  /** level: good | fair | poor | lost | unknown. */
  setQuality(level, words) {
    this.quality.dataset.level = level;
    this.quality.lastElementChild.textContent = words;
    this.quality.setAttribute("aria-label", `Connection quality: ${level}${words ? `, ${words}` : ""}`);
  }

  /** Say whether what the user saved has arrived. Without folders there is nothing to say. */
  showFolders(folders) {
    const unsent = folders.reduce((sum, { unsentFiles }) => sum + unsentFiles, 0);
    const size = folders.reduce((sum, { unsentBytes }) => sum + unsentBytes, 0);
    const isFull = folders.some((folder) => folder.isFull);
    const isDisabled = folders.some(({ state }) => state === "DISABLED");
    const isOffline = isFull || isDisabled || folders.some(({ state }) => state === "OFFLINE");
    const isBusy = unsent > 0 || folders.some(({ state }) => state === "MOUNTING");
    const left = unsent ? `${inFiles(unsent)}, ${inSize(size)} to be saved` : "Everything in your folders is saved";
    this.folders.hidden = folders.length === 0;
    this.folders.dataset.level = isOffline ? "offline" : isBusy ? "busy" : "saved";
    const why = isFull ? "There is no room left. " : isDisabled ? "Switched off by your administrator. " : isOffline ? "Your folders cannot be reached. " : "";
    this.folders.title = `${why}${left}.`;
    this.folders.setAttribute("aria-label", this.folders.title);
    const words = isFull ? "Full" : isDisabled ? "Off" : isOffline ? "Offline" : unsent ? `Saving ${unsent}` : isBusy ? "Opening" : "Saved";
    if (this.folders.lastElementChild.textContent !== words) this.folders.lastElementChild.textContent = words;
  }

  close() {
    bar.hidden = true;
    handle.hidden = true;
    bar.replaceChildren();
    delete document.body.dataset.bar;
  }
}
