// The gateway's requests for the home folder and for the temporary files. Paths are percent-encoded, each step for itself,
// as the server wants them: names are bytes, and a few of them are no text.

import { ApiError, PAGE_HEADERS, call } from "./api.js";

const STALLED_AFTER_MS = 30000;

const query = (values) => new URLSearchParams(values).toString();

/** ["a b", "ü"] → what a path of these names is on the wire. */
export const encoded = (name) => encodeURIComponent(name).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);

const folderAt = (base) => ({
  makeFolder: (path) => call("POST", `${base}/folder?${query({ path })}`),
  rename: (path, to) => call("POST", `${base}/move?${query({ path, to })}`),
  remove: (path) => call("POST", `${base}/delete?${query({ path })}`),
  fileAddress: (path) => `api/${base}/file?${query({ path })}`,
  zipAddress: (path) => `api/${base}/zip?${query({ path })}`,
  list: (path, onSome, signal) => list(base, path, onSome, signal),
  /** What was begun and can be gone on with: [{id, path, size, received, fingerprint, isComing}], `keptInHours`. */
  unfinished: () => call("GET", `${base}/uploads`),
  drop: (id) => call("DELETE", `${base}/uploads/${id}`),
  piece: (id, wish, blob, onProgress, signal) => piece(`api/${base}/uploads/${id}?${query(wish)}`, blob, onProgress, signal),
});

export const home = {
  ...folderAt("home"),
  room: () => call("GET", "home"),
  refresh: () => call("POST", "home/refresh"),
};

export const temporary = {
  ...folderAt("temporary"),
  room: async () => ({}), // nobody counts
  refresh: async () => {}, // what is listed is what is there
};

/** Return what is in a folder as [{key, name, isFolder, size, modifiedAt}], `isCut` when there is more; `onSome(count)` hears how many there are so far. */
async function list(base, path, onSome, signal) {
  const entries = [];
  let isWhole = false;
  try {
    const answer = await fetch(`api/${base}/folder?${query({ path })}`, { cache: "no-store", headers: PAGE_HEADERS, signal });
    if (!answer.ok) {
      const { code, message } = await answer.json();
      throw new ApiError(code ?? "REFUSED", message ?? "Refused.", answer.status);
    }
    for await (const line of linesOf(answer.body)) {
      const said = JSON.parse(line);
      if (said.isWhole) isWhole = true;
      if (said.isCut) entries.isCut = true;
      for (const [name, isFolder, size, modifiedAt, key] of said.entries ?? []) {
        entries.push({ key: key ?? encoded(name), name, isFolder: isFolder === 1, size, modifiedAt });
      }
      onSome(entries.length);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError("OFFLINE", "No connection to Fanlight.", 0);
  }
  if (!isWhole) throw new ApiError("OFFLINE", "The list of files broke off.", 0);
  return entries;
}

async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
  if (rest) yield rest;
}

/** Send a piece of a file; `onProgress(bytes)` hears how much of it has gone. An empty one at 0 asks how far it is. */
function piece(address, blob, onProgress, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest(); // fetch does not tell how far a body is
    let timer = 0;
    const lost = () => failed(new ApiError("OFFLINE", "No connection to Fanlight.", 0));
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => { request.abort(); lost(); }, STALLED_AFTER_MS);
    };
    request.open("PUT", address);
    for (const [name, value] of Object.entries(PAGE_HEADERS)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => { alive(); onProgress(event.loaded); };
    request.onerror = lost;
    request.onloadend = () => clearTimeout(timer);
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        lost();
        return;
      }
      if (request.status === 200) done(answer);
      else failed(new ApiError(answer.code ?? "REFUSED", answer.message ?? "Refused.", request.status));
    };
    signal.addEventListener("abort", () => { request.abort(); failed(new DOMException("", "AbortError")); }, { once: true });
    alive();
    request.send(blob);
  });
}
