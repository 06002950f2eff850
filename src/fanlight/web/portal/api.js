// The page's own requests to the gateway, and what may go wrong with them.

const PASSING = new Set(["OFFLINE", "SESSION_ENDING", "CHANGED"]);

/** `code` is the gateway's word for it; OFFLINE when it did not answer at all. */
export class ApiError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }

  /** Whether trying again soon is right: something restarts, the network is away, or a last session is being closed. */
  get isPassing() {
    return PASSING.has(this.code) || this.status >= 500;
  }
}

/** What says that this page asks, and no other site. */
export const PAGE_HEADERS = { "X-Fanlight-Page": "1" };

export async function call(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch(`api/${path}`, {
      method,
      cache: "no-store",
      headers: { ...PAGE_HEADERS, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("OFFLINE", "No connection to Fanlight.", 0);
  }
  if (answer.status === 204) return null;
  let content = {};
  try {
    content = await answer.json();
  } catch {
    throw new ApiError("OFFLINE", "The answer could not be read.", answer.status || 502);
  }
  if (!answer.ok) throw new ApiError(content.code ?? "REFUSED", content.message ?? "Refused.", answer.status);
  return content;
}

/** The browser's time zone by its name; null when it has none that a server would know. */
function timeZone() {
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  return /^[A-Za-z][\w+-]*(\/[\w+-]+){0,2}$/.test(name) ? name : null;
}

export const api = {
  state: () => call("GET", "state"),
  open: (applicationId) => call("POST", "open", { applicationId, timeZone: timeZone() }),
  session: (handle, viewer) => call("GET", `sessions/${handle}?viewer=${viewer}`),
  change: (handle, viewer, from, signal) => call("GET", `sessions/${handle}?viewer=${viewer}&from=${from}`, undefined, signal),
  attach: (handle, viewer) => call("POST", `sessions/${handle}/attach`, { viewer }),
  launch: (handle, applicationId) =>
    call("POST", `sessions/${handle}/launch`, { applicationId, launchId: crypto.randomUUID() }),
  end: (handle) => call("POST", `sessions/${handle}/end`, {}),
  files: (folder) => call("GET", `files?folder=${encodeURIComponent(folder)}`),
  async ping() {
    const start = performance.now();
    await call("GET", "ping");
    return performance.now() - start;
  },
};
