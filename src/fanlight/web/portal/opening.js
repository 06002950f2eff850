// What the page says while a folder takes long to open in the session: the program that opened it can only wait.

import { h } from "./dom.js";
import { nameOf } from "./names.js";

export const isOpening = ({ opening }) => typeof opening === "string";

/** Tells how far it is, and goes when the folder is open. */
export class OpeningNote {
  constructor() {
    this.note = null;
    this.lines = new Map(); // by the kind of the folder
  }

  /** `folders` are those of the session, `names` what the uppermost ones are called. */
  show(folders, names) {
    const opening = folders.filter(isOpening);
    if (!opening.length) return this.close();
    this.note ??= document.getElementById("toasts").appendChild(h("div.toast.opening"));
    for (const { kind, opening: name, openingFiles, openingOf } of opening) {
      const line = this.lineOf(kind, name, names[kind]);
      const words = howFar(openingFiles, openingOf);
      if (line.count.textContent !== words) line.count.textContent = words;
    }
    for (const [kind, { element }] of this.lines) {
      if (opening.some((folder) => folder.kind === kind)) continue;
      element.remove();
      this.lines.delete(kind);
    }
  }

  lineOf(kind, name, place) {
    const there = this.lines.get(kind);
    if (there?.name === name) return there;
    // Read aloud is only which folder it is: the numbers change all the time.
    const count = h("span", { "aria-hidden": "true" });
    const what = name ? ["Opening “", nameOf(name), "”"] : [`Opening ${place.replace("Your", "your")}`];
    const element = h("div", {}, h("span.what", {}, ...what), count);
    if (there) there.element.replaceWith(element);
    else this.note.append(element);
    this.lines.set(kind, { name, element, count });
    return this.lines.get(kind);
  }

  close() {
    this.note?.remove();
    this.note = null;
    this.lines.clear();
  }
}

function howFar(files, of) {
  if (files === null) return "…";
  if (of === null) return `: ${files.toLocaleString()} ${files === 1 ? "file" : "files"} so far`;
  return `: ${files.toLocaleString()} of ${of.toLocaleString()} files`;
}
