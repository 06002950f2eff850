// What moves between the session and the user's device without a panel: copies that were too long, printed documents.

import { h, toast } from "./dom.js";

const OFFERED_IN_MS = 60000;

/** `length` and `limit` are characters of text, or bytes of a picture; `direction` is where it would have gone. */
export function tellTooLong({ direction, length, limit }) {
  const way = direction === "in" ? "to the session" : "from the session";
  toast(`Not copied ${way}: it has ${length.toLocaleString()} characters or bytes; your administrator allows ${limit.toLocaleString()}.`, "warning");
}

/** The stream client has fetched the document; `url` is a blob's, of a PDF whatever is in it. The browser's own viewer prints it. */
export function offerPrinted({ name, url }) {
  if (typeof url !== "string" || !url.startsWith(`blob:${location.origin}/`)) return;
  const note = h("div.toast.note", { role: "status" }, `Printed: ${name}`,
    h("a", { href: url, target: "_blank", rel: "noopener", "data-action": "open-printed" }, "Open"),
    h("a", { href: url, download: name, "data-action": "save-printed" }, "Save"));
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), OFFERED_IN_MS);
}
