// What is on its way into a folder, as rows with a bar each, and what was begun before; and, while the panel is closed, one
// line about all.

import { h, icon, inWords, notice } from "./dom.js";
import { nameOf, readable, sizeInWords } from "./names.js";
import { uploads } from "./uploads.js";

const LOOK_AGAIN_AFTER_MS = 5000;

/** Returns an element that follows the uploads through `api` while it is in the page. `onSaved(upload)` hears of each that is saved. */
export function uploadList(api, onSaved) {
  const begun = begunList(api);
  const own = () => uploads.all.filter((upload) => upload.api === api);
  const rows = new Map();
  const list = h("ul.uploads", { "aria-label": "Uploads" });
  const clear = h("button.tool.plain", { type: "button", onclick: () => uploads.forgetFinished() }, "Clear finished");
  const heading = h("div.uploads-head", {}, h("h3", {}, "Uploads"), clear);
  const current = h("section.uploads-box", { hidden: true }, heading, list);
  const element = h("div.uploads-boxes", {}, current, begun.element);
  const told = new Set(own().filter(({ state }) => state === "saved"));
  let hasBeenShown = false;
  queueMicrotask(() => { hasBeenShown = true; }); // it is put into the page at once
  const listener = (upload) => {
    if (!element.isConnected && hasBeenShown) return void uploads.listeners.delete(listener);
    if (upload && upload.api !== api) return;
    begun.draw();
    if (upload?.state === "saved" && !told.has(upload)) { told.add(upload); onSaved(upload); }
    draw(upload);
  };
  const draw = (changed) => {
    if (changed && rows.has(changed)) rows.get(changed).update();
    const shown = own().filter(({ state }) => state !== "cancelled");
    for (const [upload, row] of rows) if (!shown.includes(upload)) { row.element.remove(); rows.delete(upload); }
    for (const upload of shown) {
      if (rows.has(upload)) continue;
      rows.set(upload, uploadRow(upload));
      list.append(rows.get(upload).element);
    }
    current.hidden = !shown.length;
    clear.hidden = !shown.some(({ isOver }) => isOver);
  };
  uploads.listeners.add(listener);
  draw(null);
  return element;
}

/** What was begun in another page, or before this one was loaded, and waits for its file. */
function begunList(api) {
  const list = h("ul.uploads", { "aria-label": "Unfinished uploads" });
  const words = h("p.detail", {});
  const element = h("section.uploads-box", { hidden: true }, h("div.uploads-head", {}, h("h3", {}, "Unfinished uploads")), words, list);
  let known = [];
  let drawn = "";
  const draw = () => {
    const here = uploads.all.filter((upload) => upload.api === api);
    known = known.filter(({ id, path }) => !here.some((upload) => upload.id === id || (!upload.isOver && upload.path === path))); // it is this page's now
    if (drawn === JSON.stringify(known)) return; // a button may have the focus
    drawn = JSON.stringify(known);
    element.hidden = !known.length;
    list.replaceChildren(...known.map((one) => begunRow(one, () => discard(one))));
  };
  const look = async () => {
    try {
      const { uploads: begun, keptInHours } = await api.unfinished();
      known = begun;
      words.textContent = `Choose or drop the same file again in the same folder, and it goes on where it stopped. ${Number.isFinite(keptInHours) ? `Kept for ${keptInHours}\u00a0h after the last byte.` : "Kept for a day, and no longer than the session's instance."}`;
    } catch {
      return; // the list of files says what is wrong
    }
    draw();
    if (known.some(({ isComing }) => isComing)) setTimeout(() => { if (element.isConnected) look(); }, LOOK_AGAIN_AFTER_MS);
  };
  const discard = async (one) => {
    known = known.filter(({ id }) => id !== one.id);
    draw();
    await api.drop(one.id).catch(() => {}); // it goes by itself before long
  };
  look();
  return { element, draw };
}

function begunRow({ path, size, received, isComing }, discard) {
  const name = path.split("/").map(decoded).join("/");
  const bar = h("progress", { max: Math.max(size, 1), value: received, "aria-label": `Received of ${readable(name)}` });
  const words = isComing ? "Being sent in another window" : `${sizeInWords(received)} of ${sizeInWords(size)} received`;
  const drop = h("button.small", { type: "button", onclick: discard, "aria-label": `Discard ${readable(name)}` }, "Discard");
  return h("li.upload", { "data-state": "unfinished" }, h("div.upload-head", {}, icon("file"), h("span.upload-name", {}, nameOf(name)), h("span.row-actions", {}, drop)), bar, h("span.words", {}, words));
}

function decoded(step) {
  try {
    return decodeURIComponent(step);
  } catch {
    return step; // no UTF-8
  }
}

function uploadRow(upload) {
  const bar = h("progress", { max: Math.max(upload.file.size, 1), "aria-label": `Upload of ${readable(upload.name)}` });
  const words = h("span.words", { role: "status" });
  const actions = h("span.row-actions", {});
  const element = h("li.upload", {}, h("div.upload-head", {}, icon("file"), h("span.upload-name", {}, nameOf(upload.name)), actions), bar, words);
  let drawn = "";
  const update = () => {
    const { state } = upload;
    element.dataset.state = state;
    bar.value = state === "saved" ? bar.max : upload.sent;
    bar.hidden = state === "failed" || state === "asking";
    words.textContent = progressInWords(upload);
    if (drawn !== state) actions.replaceChildren(...actionsOf(upload));
    drawn = state;
  };
  update();
  return { element, update };
}

function progressInWords(upload) {
  const size = sizeInWords(upload.file.size);
  if (upload.state === "waiting") return `Waiting · ${size}`;
  if (upload.state === "saved") return `Saved · ${size}`;
  if (upload.state !== "sending") return upload.words;
  const left = upload.secondsLeft;
  const time = left === null ? "" : left < 60 ? ` · ${Math.max(1, Math.round(left))} s left` : ` · ${inWords(left)} left`;
  return `${sizeInWords(upload.sent)} of ${size}${time}`;
}

function actionsOf(upload) {
  const button = (label, onclick) => h("button.small", { type: "button", onclick, "aria-label": `${label} ${readable(upload.name)}` }, label);
  if (upload.state === "saved") return [];
  if (upload.state === "failed") return [button("Try again", () => uploads.retry(upload)), button("Dismiss", () => uploads.forget(upload))];
  const cancel = button("Cancel", () => upload.cancel());
  if (upload.state !== "asking") return [cancel];
  return [button("Replace", () => upload.decide("replace")), button("Keep both", () => upload.decide("keep-both")), cancel];
}

/** While nobody looks at the list: how far all of it is, and what came of it. `isShown()` says whether the list is in sight. */
export function tellUploads(isShown) {
  let line = null;
  let isHidden = false;
  uploads.listeners.add(() => {
    const { active } = uploads;
    const isAsking = active.some(({ state }) => state === "asking");
    if (!active.length || isShown()) {
      const failed = uploads.all.filter(({ state }) => state === "failed").length;
      line?.close();
      if (line && !isShown()) {
        const last = notice(() => {});
        last.say(failed ? "Not all files were uploaded. My Files says why." : "All files are saved.");
        setTimeout(() => last.close(), 6000);
      }
      line = null;
      isHidden = isHidden && active.length > 0;
      return;
    }
    if (isHidden) return;
    line ??= notice(() => { line = null; isHidden = true; });
    const total = active.reduce((sum, { file }) => sum + file.size, 0) || 1;
    const sent = active.reduce((sum, upload) => sum + upload.sent, 0);
    const files = active.length === 1 ? "1 file" : `${active.length} files`;
    line.say(isAsking ? "An upload waits for your answer in My Files." : `Uploading ${files}: ${Math.floor((sent / total) * 10) * 10} %`);
  });
}
