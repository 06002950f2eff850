// Panels that open from the toolbar: one at a time, closed by Escape, a click elsewhere, or the same button.

import { api } from "./api.js";
import { h, icon, toast } from "./dom.js";
import { applicationTile } from "./views.js";

const host = document.getElementById("panels");
let open = null;

export function closePanel() {
  if (!open) return;
  const { panel, button, onClose } = open;
  open = null;
  const hadFocus = panel.contains(document.activeElement);
  panel.remove();
  button?.setAttribute("aria-expanded", "false");
  if (hadFocus) button?.focus();
  onClose?.();
}

/** Open a panel, or close it when it is the one that is open. */
export function togglePanel(id, title, button, content, onClose) {
  const wasOpen = open?.id === id;
  closePanel();
  if (wasOpen) return;
  const heading = h("h2", { id: `panel-${id}` }, title);
  const close = h("button.tool.plain", { type: "button", "aria-label": "Close", onclick: closePanel }, icon("close"));
  const panel = h("section.panel", { role: "dialog", "aria-labelledby": heading.id, "data-panel": id, tabIndex: -1 }, h("header", {}, heading, close), content);
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") closePanel(); });
  open = { id, panel, button, onClose };
  host.append(panel);
  button?.setAttribute("aria-expanded", "true");
  (panel.querySelector("[autofocus]") ?? panel.querySelector(".tile, textarea, .panel-body button") ?? panel).focus();
}

window.addEventListener("blur", () => { if (document.activeElement?.tagName === "IFRAME") closePanel(); });

const body = (...children) => h("div.panel-body", {}, ...children);

export function launcherPanel(catalog, launch) {
  return body(h("ul.tiles.small", {}, catalog.applications.map((application) =>
    h("li", {}, applicationTile(application, () => { closePanel(); launch(application); })))));
}

/** `received` is the last text that came from the session. */
export function clipboardPanel(stream, features, received) {
  const parts = [];
  if (features.has("CLIPBOARD_COPY_TO_LOCAL_DEVICE")) {
    const text = h("textarea", { readOnly: true, rows: 4, value: received, "aria-label": "From the session" });
    parts.push(h("label.field", {}, "From the session", text),
      h("div.actions", {}, h("button", { type: "button", onclick: () => copy(text) }, "Copy to this computer")));
  }
  if (features.has("CLIPBOARD_COPY_FROM_LOCAL_DEVICE")) {
    const text = h("textarea", { rows: 4, placeholder: "Paste here", "aria-label": "To the session", autofocus: true });
    const send = () => {
      stream.inside?.ask({ type: "clipboardUpdateFromUI", text: text.value });
      toast("Sent. Paste it in the application.");
      closePanel();
    };
    parts.push(h("label.field", {}, "To the session", text), h("div.actions", {}, h("button.primary", { type: "button", onclick: send }, "Send to the session")));
  }
  return body(...parts);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text.value);
    toast("Copied.");
  } catch {
    text.select();
    toast("Press Ctrl+C to copy the marked text.");
  }
}

/** What the session itself keeps, until it ends. */
export function temporaryFiles(stream, features) {
  const list = h("ul.files", { "aria-live": "polite" });
  const parts = [];
  if (features.has("FILE_UPLOAD") && stream.inside?.canUpload) {
    parts.push(h("div.actions", {}, h("button.primary", { type: "button", onclick: () => stream.inside.chooseUploads() }, icon("upload"), "Upload files")),
      h("p.detail", {}, "Or drop files on the application."));
  }
  if (features.has("FILE_DOWNLOAD")) {
    parts.push(h("h3", {}, "Download"), list);
    fillFiles(list, "");
  }
  return body(...parts);
}

async function fillFiles(list, folder) {
  list.replaceChildren(h("li.detail", {}, "Looking…"));
  let entries;
  try {
    ({ entries } = await api.files(folder));
  } catch (error) {
    list.replaceChildren(h("li.detail", {}, error.message));
    return;
  }
  const up = folder ? [h("li", {}, h("button.file", { type: "button", onclick: () => fillFiles(list, folder.split("/").slice(0, -1).join("/")) }, icon("back"), h("span", {}, "Back")))] : [];
  const rows = entries.map((entry) => h("li", {}, fileRow(list, folder ? `${folder}/${entry.name}` : entry.name, entry)));
  list.replaceChildren(...up, ...(rows.length ? rows : [h("li.detail", {}, "There are no files here.")]));
}

function fileRow(list, path, entry) {
  if (entry.isFolder) return h("button.file", { type: "button", onclick: () => fillFiles(list, path) }, icon("folder"), h("span", {}, entry.name));
  const href = `stream/api/files/${path.split("/").map(encodeURIComponent).join("/")}`;
  return h("a.file", { href, download: entry.name }, icon("file"), h("span", {}, entry.name), h("span.size", {}, entry.size));
}

const KEYS = { Ctrl: 0xffe3, Alt: 0xffe9, Shift: 0xffe1, Super: 0xffeb, Esc: 0xff1b, Tab: 0xff09, Del: 0xffff, Ins: 0xff63, Home: 0xff50, End: 0xff57, "Pg Up": 0xff55, "Pg Dn": 0xff56, "←": 0xff51, "↑": 0xff52, "→": 0xff53, "↓": 0xff54, Print: 0xff61, F4: 0xffc1 };
const COMBINATIONS = [["Ctrl", "Alt", "Del"], ["Alt", "Tab"], ["Alt", "F4"], ["Ctrl", "Esc"]];
const SINGLE = ["Esc", "Tab", "Del", "Ins", "Home", "End", "Pg Up", "Pg Dn", "←", "↑", "→", "↓", "Print", "Super"];

export function keyboardPanel(stream) {
  const held = new Set();
  const press = (...names) => stream.inside?.press([...held, ...names].map((name) => KEYS[name] ?? 0xffbd + Number(name.slice(1))));
  const key = (label, names) => h("button.key", { type: "button", onclick: () => press(...names) }, label);
  const modifier = (name) => {
    const made = h("button.key", { type: "button", "aria-pressed": "false" }, name);
    made.onclick = () => {
      if (!held.delete(name)) held.add(name);
      made.setAttribute("aria-pressed", String(held.has(name)));
    };
    return made;
  };
  const soft = h("button.primary", { type: "button", onclick: () => { closePanel(); stream.inside?.ask({ type: "showVirtualKeyboard" }); } }, icon("keyboard"), "Show the keyboard");
  return body(
    matchMedia("(pointer: coarse)").matches ? h("div.actions", {}, soft) : null,
    h("h3", {}, "Combinations"), h("div.keys", {}, COMBINATIONS.map((names) => key(names.join("+"), names))),
    h("h3", {}, "Hold"), h("div.keys", {}, ["Ctrl", "Alt", "Shift"].map(modifier)),
    h("h3", {}, "Keys"), h("div.keys", {}, SINGLE.map((name) => key(name, [name])), Array.from({ length: 12 }, (_, n) => key(`F${n + 1}`, [`F${n + 1}`]))),
    h("h3", {}, "Good to know"),
    h("dl.help", {},
      h("dt", {}, "Ctrl+Alt+Home"), h("dd", {}, "leaves the application for this toolbar."),
      h("dt", {}, "Full screen"), h("dd", {}, "gives keys such as Alt+Tab to the application too, where the browser can."),
      h("dt", {}, "Layout"), h("dd", {}, "your own keyboard's characters are typed, AltGr and dead keys included."),
      h("dt", {}, "Copy and paste"), h("dd", {}, "with Ctrl+C and Ctrl+V, or with the clipboard panel.")),
  );
}

export function qualityPanel(readings) {
  const rows = h("dl.readings", {});
  const fill = () => rows.replaceChildren(...readings().flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  fill();
  const timer = setInterval(() => (rows.isConnected ? fill() : clearInterval(timer)), 1000);
  return body(rows, h("p.detail", {}, "Delay is the way to Fanlight's gateway and back."));
}

export function morePanel(actions) {
  return body(h("ul.menu", {}, actions.map((action) => h("li", {}, h("button.file", { type: "button", onclick: () => { closePanel(); action.run(document.querySelector('[data-action="more"]')); } }, icon(action.icon), h("span", {}, action.label))))));
}

/** Ask before something that cannot be undone; resolves to a boolean. */
export function confirmEnd() {
  const no = h("button", { type: "button", value: "no", autofocus: true }, "Go on working");
  const yes = h("button.danger", { type: "button", value: "yes" }, "End session");
  const dialog = h("dialog.confirm", { "aria-labelledby": "confirm-title" },
    h("h2", { id: "confirm-title" }, "End this session?"),
    h("p", {}, "Open applications are closed at once. What is not saved is lost."),
    h("div.actions", {}, yes, no));
  host.append(dialog);
  dialog.showModal();
  return new Promise((decide) => {
    const done = (answer) => { dialog.remove(); decide(answer); };
    no.onclick = () => done(false);
    yes.onclick = () => done(true);
    dialog.addEventListener("cancel", () => done(false));
  });
}
