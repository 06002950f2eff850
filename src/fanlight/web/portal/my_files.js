// My Files: the home folder and drives, where there are some, and the session's temporary files.

import { h, icon } from "./dom.js";
import { DRIVES, drivesPanel } from "./drives.js";
import { homeFolder, temporaryFolder } from "./home_folder.js";
import { temporaryFiles } from "./panels.js";
import { tellUploads } from "./upload_list.js";

let lastTab = "home";

tellUploads(() => document.querySelector(".uploads-box")?.checkVisibility() ?? false);

const isDisabled = (folders, kind) => folders.some((folder) => folder.kind === kind && folder.state === "DISABLED");

const switchedOff = () => h("div.empty-folder", {}, icon("offline"), h("p", {}, h("strong", {}, "Your administrator has switched the home folder off.")), h("p.detail", {}, "Your files are kept. What programs save there in this session is sent when it ends."));

/** `session` is as the server says it. */
export function myFilesPanel(stream, features, session) {
  const folders = session.folders ?? [];
  const mayPass = features.has("FILE_UPLOAD") || features.has("FILE_DOWNLOAD");
  const temporary = () => (session.hasTemporaryFolder ? temporaryFolder(features) : temporaryFiles(stream, features));
  const tabs = [
    mayPass && folders.some(({ kind }) => kind === "HOMEFOLDERS") && { id: "home", label: "Home Folder", make: () => (isDisabled(folders, "HOMEFOLDERS") ? switchedOff() : homeFolder(features)) },
    folders.some(({ kind }) => kind in DRIVES) && { id: "drives", label: "Drives", make: drivesPanel },
    mayPass && { id: "temporary", label: "Temporary Files", make: temporary },
  ].filter(Boolean);
  if (tabs.length === 1) {
    const [{ id, make }] = tabs;
    return id === "temporary" && !session.hasTemporaryFolder ? make() : h("div.panel-body", {}, make());
  }
  const place = h("div.tab-place", { role: "tabpanel", id: "my-files-place" });
  const buttons = tabs.map((tab) => h("button.tab", { type: "button", role: "tab", id: `tab-${tab.id}`, "aria-controls": place.id, onclick: () => choose(tab) }, tab.label));
  const choose = (tab) => {
    lastTab = tab.id;
    for (const button of buttons) {
      const isChosen = button.id === `tab-${tab.id}`;
      button.setAttribute("aria-selected", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
    }
    place.setAttribute("aria-labelledby", `tab-${tab.id}`);
    place.replaceChildren(tab.make());
  };
  const row = h("div.tabs", { role: "tablist", "aria-label": "My Files" }, buttons);
  row.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    const step = event.key === "ArrowRight" ? 1 : buttons.length - 1;
    const other = buttons[(buttons.indexOf(document.activeElement) + step) % buttons.length];
    other.click();
    other.focus();
  });
  choose(tabs.find(({ id }) => id === lastTab) ?? tabs[0]);
  return h("div.panel-body", {}, row, place);
}
