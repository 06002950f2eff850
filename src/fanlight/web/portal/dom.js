// Building blocks of the page. Texts go in as text, never as markup: names come from images, files and applications.

/** h("button.primary", {onclick}, "Start") → element. Null children are left out. */
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PATHS = {
  apps: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  clipboard: "M9 4h6v3H9zM9 5H6v15h12V5h-3M9 12h6M9 16h4",
  files: "M4 6h6l2 2h8v11H4zM12 11v5M9.500 13.500 12 11l2.500 2.500",
  keyboard: "M3 7h18v10H3zM7 10.500h.01M10.500 10.500h.01M14 10.500h.01M17.500 10.500h.01M8 14h8",
  fullscreen: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  quality: "M5 19v-4M10 19v-8M15 19V8M20 19V5",
  feedback: "M4 5h16v11H10l-4 4v-4H4zM8 9h8M8 12h5",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  end: "M12 4v8M7.500 6.500a7.500 7.500 0 1 0 9 0",
  hide: "M6 14l6-6 6 6",
  show: "M6 10l6 6 6-6",
  close: "M6 6l12 12M18 6 6 18",
  download: "M12 4v11M7.500 11 12 15.500 16.500 11M5 20h14",
  upload: "M12 16V5M7.500 9.500 12 5l4.500 4.500M5 20h14",
  folder: "M4 6h6l2 2h8v11H4z",
  file: "M7 4h7l4 4v12H7zM14 4v4h4",
  newFolder: "M4 6h6l2 2h8v11H4zM12 11v5M9.500 13.500h5",
  refresh: "M19 8a8 8 0 1 0 1 6M20 4v5h-5",
  offline: "M4 4l16 16M7.500 8.500A5 5 0 0 0 6 18h10M19.500 16.500A4 4 0 0 0 17 10h-.500a6 6 0 0 0-5-4",
  back: "M14 6l-6 6 6 6",
  cloud: "M7 18.500h10.500a3.750 3.750 0 0 0 .7-7.430A6.250 6.250 0 0 0 6.100 9.800 4.400 4.400 0 0 0 7 18.500z",
  clock: "M12 7v5l3.500 2M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17",
};

export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const attributes = { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** 11520 → "3 h 12 min". */
export function inWords(seconds) {
  const minutes = Math.max(0, Math.floor(seconds / 60));
  if (minutes >= 48 * 60) return `${Math.floor(minutes / 1440)} days`;
  if (minutes >= 60) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  return minutes >= 1 ? `${minutes} min` : "less than a minute";
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** 125829120 → "126 MB". */
export function inSize(bytes) {
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), UNITS.length - 1);
  const number = bytes / 1000 ** power;
  return `${power && number < 10 ? number.toFixed(1) : Math.round(number)}\u00a0${UNITS[power]}`;
}

/** "1 file", "3 files". */
export const inFiles = (count) => `${count} ${count === 1 ? "file" : "files"}`;

const TOAST_IN_MS = 6000;

/** A toast that stays, and whose words may change: {say(text), close()}. Screen readers hear each change.
 *  With `onHide` it has a button that takes it away. */
export function notice(onHide, kind = "warning") {
  const words = h("span", {});
  const hide = onHide ? h("button.hide", { type: "button", onclick: () => { note.remove(); onHide(); } }, "Hide") : null;
  const note = h(`div.toast.${kind}`, {}, words, hide);
  document.getElementById("toasts").append(note);
  return { say(text) { if (words.textContent !== text) words.textContent = text; }, close: () => note.remove() };
}

/** Say something in passing. Screen readers hear it too. */
export function toast(text, kind = "note") {
  const note = h(`div.toast.${kind}`, {}, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), TOAST_IN_MS);
}
