// The user's own drives: connected at their provider in a window of its own, and taken back here.

import { call } from "./api.js";
import { h, toast } from "./dom.js";

export const DRIVES = { GOOGLE_DRIVE: "Google Drive", ONE_DRIVE: "OneDrive" };
const FOLDERS = { GOOGLE_DRIVE: "GoogleDrive", ONE_DRIVE: "OneDrive" };
const LOOK_EVERY_MS = 2000;

export function drivesPanel() {
  const list = h("div.drives", { "aria-live": "polite" }, h("p.muted", {}, "One moment …"));
  let shown = "";
  const look = async () => {
    try {
      const { drives } = await call("GET", "drives");
      if (shown === JSON.stringify(drives)) return;
      shown = JSON.stringify(drives);
      const hasFocus = list.contains(document.activeElement);
      list.replaceChildren(...drives.map((drive) => driveRow(drive, look)));
      if (hasFocus) list.querySelector("button")?.focus();
    } catch (error) {
      if (!shown) list.replaceChildren(h("p", {}, error.message));
    }
  };
  look();
  const timer = setInterval(() => (list.isConnected ? look() : clearInterval(timer)), LOOK_EVERY_MS);
  return list;
}

function driveRow({ kind, state, account }, look) {
  const name = DRIVES[kind];
  const where = `MyFiles/${FOLDERS[kind]}`;
  const words = {
    CONNECTED: `Connected as ${account}. Your files are in ${where}.`,
    CONNECTING: "Being connected …",
    AWAY: `Connected as ${account}, and cannot be reached at the moment. It is tried again.`,
    NOT_CONNECTED: `Not connected. Until you connect it, nothing can be saved in ${where}.`,
    ENDED: `${name} has ended the permission that you gave. Connect it again: until then nothing can be saved in ${where}.`,
    NO_CLIENT: "Your administrator has not set this drive up.",
  };
  const act = account
    ? h("button", { type: "button", onclick: () => disconnect(kind, name, look) }, `Disconnect ${name}`)
    : h("button.primary", { type: "button", onclick: () => connect(kind) }, `Connect your ${name}`);
  return h("section.drive", { "aria-label": name }, h("h3", {}, name), h("p", {}, words[state] ?? ""), state !== "NO_CLIENT" && act);
}

async function connect(kind) {
  const page = window.open("about:blank", "_blank"); // now, or browsers take it for an advertisement
  try {
    const { url } = await call("POST", `drives/${kind}/connect`);
    if (page) page.location = url;
    else toast("Allow this page to open a window, and try again.", "warning");
  } catch (error) {
    page?.close();
    toast(error.message, "warning");
  }
}

async function disconnect(kind, name, look) {
  try {
    const { is_revoked: isRevoked } = await call("POST", `drives/${kind}/disconnect`);
    if (!isRevoked) toast(`Disconnected here. Your account at ${name} still lists this application; you can remove it there.`);
  } catch (error) {
    toast(error.message, "warning");
  }
  await look();
}
