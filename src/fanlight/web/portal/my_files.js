// My Files: the home folder, where there is one, and the session's temporary files.

import { h } from "./dom.js";
import { homeFolder, temporaryFolder } from "./home_folder.js";
import { temporaryFiles } from "./panels.js";
import { tellUploads } from "./upload_list.js";

let lastTab = "home";

tellUploads(() => document.querySelector(".uploads-box")?.checkVisibility() ?? false);

/** `session` is as the server says it. */
export function myFilesPanel(stream, features, session) {
  const temporary = () => (session.hasTemporaryFolder ? temporaryFolder : temporaryFiles)(stream, features);
  if (!(session.folders ?? []).some(({ kind }) => kind === "HOMEFOLDERS")) {
    return session.hasTemporaryFolder ? h("div.panel-body", {}, temporary()) : temporary();
  }
  const tabs = [
    { id: "home", label: "Home Folder", make: () => homeFolder(features) },
    { id: "temporary", label: "Temporary Files", make: temporary },
  ];
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
    const other = buttons.find((button) => button !== document.activeElement);
    other.click();
    other.focus();
  });
  choose(tabs.find(({ id }) => id === lastTab));
  return h("div.panel-body", {}, row, place);
}
