// A folder's list: only the rows in sight exist, so that a hundred thousand files are as quick as ten.

import { h, icon } from "./dom.js";
import { nameOf, readable, sizeInWords, timeInWords } from "./names.js";

const ROW_IN_PX = 46;
const SPARE_ROWS = 8;

export class FileList {
  /** `on` has open(entry), menu(entry, button), and rename(entry) and remove(entry) where that is allowed. */
  constructor(on, hasMenu) {
    this.on = on;
    this.hasMenu = hasMenu;
    this.entries = [];
    this.active = 0;
    this.space = h("div.rows", { role: "rowgroup" });
    this.element = h("div.list", { role: "grid", "aria-label": "Files", tabIndex: -1 }, this.space);
    this.element.addEventListener("scroll", () => this.draw(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** `focusKey`: whose row gets the focus if there is one. `isSame`: the folder was shown before, and keeps its place. */
  show(entries, focusKey = null, isSame = false) {
    const top = isSame ? this.element.scrollTop : 0;
    this.entries = entries;
    this.active = Math.max(0, focusKey === null ? 0 : entries.findIndex(({ key }) => key === focusKey));
    this.element.setAttribute("aria-rowcount", entries.length);
    this.space.style.height = `${entries.length * ROW_IN_PX}px`;
    this.element.scrollTop = top;
    this.space.replaceChildren();
    this.draw();
    if (focusKey !== null) this.focus(this.active);
  }

  /** Rows come and go; those that stay are not touched, for one of them may have the focus, and that one stays. */
  draw() {
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW_IN_PX) - SPARE_ROWS);
    const last = Math.min(this.entries.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW_IN_PX) + SPARE_ROWS);
    const there = new Set();
    for (const row of [...this.space.children]) {
      const index = Number(row.dataset.index);
      if ((index < first || index >= last) && !row.contains(document.activeElement)) row.remove();
      else there.add(index);
    }
    for (let index = first; index < last; index += 1) {
      if (there.has(index)) continue;
      const after = [...this.space.children].find((row) => Number(row.dataset.index) > index) ?? null;
      this.space.insertBefore(this.row(index), after);
    }
  }

  row(index) {
    const entry = this.entries[index];
    const words = readable(entry.name);
    const size = entry.isFolder ? "" : sizeInWords(entry.size);
    const name = h("button.name", { type: "button", tabIndex: -1, title: words, onclick: () => this.on.open(entry) }, icon(entry.isFolder ? "folder" : "file"), nameOf(entry.name));
    const more = this.hasMenu(entry) && h("button.tool.plain", { type: "button", tabIndex: -1, "aria-label": `More for ${words}`, "aria-haspopup": "menu", onclick: (event) => this.on.menu(entry, event.currentTarget) }, icon("more"));
    const row = h("div.row", { role: "row", "aria-rowindex": index + 1, tabIndex: index === this.active ? 0 : -1, "aria-label": `${entry.isFolder ? "Folder" : "File"} ${words}${size ? `, ${size}` : ""}` },
      h("div.cell.first", { role: "gridcell" }, name),
      h("div.cell.size", { role: "gridcell" }, size),
      h("div.cell.time", { role: "gridcell" }, timeInWords(entry.modifiedAt)),
      h("div.cell.more", { role: "gridcell" }, more || null));
    row.dataset.index = index;
    row.style.transform = `translateY(${index * ROW_IN_PX}px)`;
    row.addEventListener("focusin", () => this.activate(index));
    return row;
  }

  activate(index) {
    if (index === this.active) return;
    this.rowOf(this.active)?.setAttribute("tabindex", "-1");
    this.active = index;
    this.rowOf(index)?.setAttribute("tabindex", "0");
  }

  rowOf(index) { return this.space.querySelector(`[data-index="${index}"]`); }

  focus(index) {
    if (!this.entries.length) return;
    const wanted = Math.min(Math.max(index, 0), this.entries.length - 1);
    const top = wanted * ROW_IN_PX;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + ROW_IN_PX > this.element.scrollTop + this.element.clientHeight) this.element.scrollTop = top + ROW_IN_PX - this.element.clientHeight;
    this.activate(wanted);
    this.draw();
    this.rowOf(wanted)?.focus({ preventScroll: true });
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_IN_PX) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    const entry = this.entries[this.active];
    if (!entry || event.altKey || event.ctrlKey || event.metaKey) return;
    if (step) this.focus(Math.min(this.entries.length - 1, Math.max(0, this.active + step)));
    else if (event.key === "Enter" && event.target.classList.contains("row")) this.on.open(entry);
    else if (event.key === "F2") this.on.rename?.(entry);
    else if (event.key === "Delete") this.on.remove?.(entry);
    else if (event.key === " " || event.key === "ArrowRight" || event.key === "ContextMenu") {
      if (!this.hasMenu(entry) || !event.target.classList.contains("row")) return;
      this.on.menu(entry, this.rowOf(this.active).querySelector(".more button"));
    } else return;
    event.preventDefault();
  }
}
