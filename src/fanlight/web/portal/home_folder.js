// A folder in My Files, the home folder or the temporary files: look into it, send, fetch, rename, remove. What the stack
// does not allow is not offered; the server enforces the same.

import { h, icon, toast } from "./dom.js";
import { askText, askWhether, openMenu } from "./dialogs.js";
import { FileList } from "./file_list.js";
import { encoded, home, temporary } from "./home_api.js";
import { nameOf, readable, sizeInWords } from "./names.js";
import { uploadList } from "./upload_list.js";
import { uploads } from "./uploads.js";

const QUIET_MS = 150; // a list that comes sooner needs no word about it
const TRY_AGAIN_AFTER_MS = 5000;
const RELOAD_AFTER_MS = 400; // after a file was saved; several are saved at once
/** What the document hears when the stream client has sent a file. */
export const UPLOADED = "fanlight-uploaded";
const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

// `lastPath`: where the panel was when it was closed, as [{key, name}].
const HOME = { api: home, title: "Home Folder", away: "Your home folder cannot be reached.", why: "The storage that it is kept in does not answer at the moment. This page keeps trying.", lastPath: [] };
const TEMPORARY = { api: temporary, title: "Temporary Files", away: "The temporary files cannot be reached.", why: "The session does not answer at the moment. This page keeps trying.", lastPath: [] };

export const homeFolder = (features) => new Folder(HOME, features).element;

/** What is dropped on the application is the stream client's to send: it goes to the top. */
export const temporaryFolder = (features) => new Folder(TEMPORARY, features).element;

class Folder {
  constructor(kind, features) {
    this.kind = kind;
    this.api = kind.api;
    this.mayChange = features.has("FILE_UPLOAD");
    this.mayFetch = features.has("FILE_DOWNLOAD");
    this.steps = kind.lastPath;
    this.crumbs = h("nav.crumbs", { "aria-label": "Folder" });
    this.status = h("p.detail", { role: "status" });
    this.cut = h("p.cut", { role: "note", hidden: true });
    this.room = h("div.room", { hidden: true });
    this.list = new FileList({
      open: (entry) => this.open(entry),
      menu: (entry, button) => openMenu(button, this.actionsOf(entry)),
      rename: this.mayChange ? (entry) => this.rename(entry) : null,
      remove: this.mayChange ? (entry) => this.remove(entry) : null,
    }, (entry) => this.actionsOf(entry).length > 0);
    this.middle = h("div.middle", {}, this.list.element);
    this.picker = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Files to upload" });
    this.picker.onchange = () => { this.send([...this.picker.files]); this.picker.value = ""; };
    this.element = h("div.home", {}, this.tools(), this.crumbs, this.status, this.cut, this.middle, this.room, ...(!this.mayChange ? [] : [uploadList(this.api, (upload) => this.saved(upload)), this.picker]));
    if (this.mayChange) this.takeDrops();
    if (kind === TEMPORARY) this.followUploads();
    this.go(this.steps);
  }

  tools() {
    const tool = (label, picture, run, kind = "button") => h(kind, { type: "button", onclick: run, "data-action": label.toLowerCase().replaceAll(" ", "-") }, icon(picture), label);
    return h("div.actions.home-tools", {},
      this.mayChange && tool("Upload", "upload", () => this.picker.click(), "button.primary"),
      this.mayChange && tool("New folder", "newFolder", () => this.makeFolder()),
      this.mayFetch && tool("Download all", "download", () => fetchFile(this.api.zipAddress(this.path), `${this.steps.at(-1)?.name ?? this.kind.title}.zip`)),
      tool("Refresh", "refresh", () => this.refresh()));
  }

  get path() { return this.steps.map(({ key }) => key).join("/"); }

  pathOf(entry) { return [...this.steps.map(({ key }) => key), entry.key].join("/"); }

  /** Show a folder. `focusKey`: whose row is to have the focus; null: no row. */
  async go(steps, { focusKey = null, isQuiet = false } = {}) {
    this.looking?.abort();
    const mine = new AbortController();
    this.looking = mine;
    clearTimeout(this.timer);
    this.steps = steps;
    this.kind.lastPath = steps;
    this.drawCrumbs();
    const patience = setTimeout(() => { if (!isQuiet) this.status.textContent = "Looking…"; }, QUIET_MS);
    try {
      const entries = await this.api.list(this.path, (count) => {
        if (count > 1000) this.status.textContent = `Looking… ${count.toLocaleString()} so far`;
      }, mine.signal);
      if (mine !== this.looking) return;
      entries.sort((a, b) => b.isFolder - a.isFolder || order.compare(a.name, b.name));
      this.shown(entries, focusKey, isQuiet);
      this.measure();
    } catch (error) {
      if (mine === this.looking && error.name !== "AbortError") this.failed(error);
    } finally {
      clearTimeout(patience);
    }
  }

  shown(entries, focusKey, isQuiet) {
    const folders = entries.filter(({ isFolder }) => isFolder).length;
    const files = entries.length - folders;
    const count = (number, one, many) => (number === 0 ? null : number === 1 ? `1 ${one}` : `${number.toLocaleString()} ${many}`);
    this.status.textContent = [count(folders, "folder", "folders"), count(files, "file", "files")].filter(Boolean).join(", ");
    this.cut.hidden = !entries.isCut;
    this.cut.textContent = entries.isCut ? `There are more than these ${entries.length.toLocaleString()}. The rest is not shown here; applications show all of it.` : "";
    if (entries.length) {
      if (!this.list.element.isConnected) this.middle.replaceChildren(this.list.element);
      this.list.show(entries, focusKey, isQuiet);
      return;
    }
    const words = this.mayChange ? "Drop files here, or choose Upload." : "Files that you save in the folder appear here.";
    this.middle.replaceChildren(h("div.empty-folder", {}, icon("folder"), h("p", {}, h("strong", {}, "This folder is empty.")), h("p.detail", {}, words)));
  }

  failed(error) {
    if (error.code === "NOT_FOUND" && this.steps.length) {
      toast("This folder is gone.", "warning");
      this.go(this.steps.slice(0, -1));
      return;
    }
    this.status.textContent = "";
    this.cut.hidden = true;
    const retry = h("button", { type: "button", onclick: () => this.go(this.steps) }, "Try again");
    const words = error.status >= 500 ? this.kind.why : error.message;
    this.middle.replaceChildren(h("div.empty-folder", { role: "alert" }, icon("offline"), h("p", {}, h("strong", {}, this.kind.away)), h("p.detail", {}, words), h("div.actions", {}, retry)));
    if (error.isPassing) this.timer = setTimeout(() => { if (this.element.isConnected) this.go(this.steps, { isQuiet: true }); }, TRY_AGAIN_AFTER_MS);
  }

  async measure() {
    const { quota, used } = await this.api.room().catch(() => ({}));
    this.room.hidden = typeof quota !== "number";
    if (this.room.hidden) return;
    const words = `${sizeInWords(Math.max(used, 0))} of ${sizeInWords(quota)} used`;
    this.room.replaceChildren(h("meter", { min: 0, max: quota, high: quota * 0.9, optimum: 0, value: Math.min(used, quota), "aria-label": words }), h("span", {}, words));
  }

  drawCrumbs() {
    const all = [{ name: this.kind.title, key: "" }, ...this.steps];
    this.crumbs.replaceChildren(h("ol", {}, all.map(({ name }, index) => {
      const isHere = index === all.length - 1;
      return h("li", {}, h("button.crumb", { type: "button", "aria-current": isHere ? "location" : null, onclick: () => this.go(this.steps.slice(0, index), { focusKey: this.steps[index]?.key ?? null }) }, index ? nameOf(name) : name));
    })));
  }

  open(entry) {
    if (entry.isFolder) this.go([...this.steps, entry], { focusKey: "" });
    else if (this.mayFetch) fetchFile(this.api.fileAddress(this.pathOf(entry)), entry.name);
  }

  actionsOf(entry) {
    const path = this.pathOf(entry);
    return [
      entry.isFolder && { label: "Open", run: () => this.open(entry) },
      this.mayFetch && (entry.isFolder
        ? { label: "Download as zip", run: () => fetchFile(this.api.zipAddress(path), `${entry.name}.zip`) }
        : { label: "Download", run: () => this.open(entry) }),
      this.mayChange && { label: "Rename", run: () => this.rename(entry) },
      this.mayChange && { label: "Delete", isDanger: true, run: () => this.remove(entry) },
    ].filter(Boolean);
  }

  async makeFolder() {
    const name = (await askText("New folder", "Name", "Make folder"))?.trim();
    if (name) await this.change(() => this.api.makeFolder(this.pathOf({ key: encoded(name) })), encoded(name));
  }

  async rename(entry) {
    const dot = entry.isFolder ? -1 : entry.name.lastIndexOf(".");
    const name = (await askText("Rename", "New name", "Rename", entry.name, dot > 0 ? dot : entry.name.length))?.trim();
    if (name && name !== entry.name) await this.change(() => this.api.rename(this.pathOf(entry), this.pathOf({ key: encoded(name) })), encoded(name));
    else this.list.focus(this.list.active);
  }

  async remove(entry) {
    const words = [nameOf(entry.name), entry.isFolder ? " and all that is in it will be gone for good." : " will be gone for good."];
    const isSure = await askWhether(entry.isFolder ? "Delete this folder?" : "Delete this file?", words, "Delete");
    const next = this.list.entries[this.list.active + 1] ?? this.list.entries[this.list.active - 1];
    if (isSure) await this.change(() => this.api.remove(this.pathOf(entry)), next?.key ?? null);
    else this.list.focus(this.list.active);
  }

  async change(make, focusKey) {
    try {
      await make();
    } catch (error) {
      toast(error.message, "warning");
    }
    await this.go(this.steps, { focusKey, isQuiet: true });
  }

  async refresh() {
    try {
      await this.api.refresh();
    } catch {
      // The list says what is wrong.
    }
    await this.go(this.steps);
  }

  send(files, folder = this.path) {
    uploads.add(this.api, files, folder);
  }

  saved(upload) {
    if (upload.folder !== this.path || this.reload) return;
    this.reload = setTimeout(() => { this.reload = null; this.go(this.steps, { isQuiet: true }); }, RELOAD_AFTER_MS);
  }

  followUploads() {
    const heard = () => {
      if (this.element.isConnected) this.go(this.steps, { isQuiet: true });
      else document.removeEventListener(UPLOADED, heard);
    };
    document.addEventListener(UPLOADED, heard);
  }

  takeDrops() {
    let depth = 0; // enter and leave come for every element inside
    const over = (change) => {
      depth = Math.max(0, depth + change);
      this.element.classList.toggle("dropping", depth > 0);
    };
    const isFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    this.element.addEventListener("dragenter", (event) => { if (isFiles(event)) { event.preventDefault(); over(1); } });
    this.element.addEventListener("dragleave", () => over(-1));
    this.element.addEventListener("dragover", (event) => { if (isFiles(event)) event.preventDefault(); });
    this.element.addEventListener("drop", (event) => {
      if (!isFiles(event)) return;
      event.preventDefault();
      over(-depth);
      const items = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
      if (items.some((item) => item?.isDirectory)) this.sendTree(items.filter(Boolean), this.path);
      else this.send([...event.dataTransfer.files]);
    });
  }

  /** Folders that were dropped are made, and what is in them is sent into them. */
  async sendTree(items, folder) {
    for (const item of items) {
      if (item.isFile) {
        this.send([await new Promise((done, failed) => item.file(done, failed))], folder);
        continue;
      }
      const inner = folder ? `${folder}/${encoded(item.name)}` : encoded(item.name);
      try {
        await this.api.makeFolder(inner);
      } catch (error) {
        if (error.code !== "EXISTS") {
          toast(`${readable(item.name)}: ${error.message}`, "warning");
          continue;
        }
      }
      if (folder === this.path) this.go(this.steps, { isQuiet: true });
      const reader = item.createReader();
      for (let some = await entriesOf(reader); some.length; some = await entriesOf(reader)) await this.sendTree(some, inner);
    }
  }
}

const entriesOf = (reader) => new Promise((done, failed) => reader.readEntries(done, failed));

/** The browser itself fetches, shows how far it is, and goes on after a cut. */
function fetchFile(address, name) {
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
