// The session page: from the opened link to the catalogue, the wait, the stream and the end. What is true is said by the
// server; this page asks, shows, and asks again. Reloading it at any moment comes back to the same place.

import { ApiError, api } from "./api.js";
import { inWords, wait } from "./dom.js";
import { Running } from "./running.js";
import { Stream } from "./stream.js";
import { hideView, showCatalogue, showEnded, showLoading, showMessage, showRetrying, showWaiting } from "./views.js";

const viewer = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random().toString(36).slice(2)}`;
const FIRST_PAUSE_IN_MS = 500;
const LONGEST_PAUSE_IN_MS = 3000;
const IDLE_LOOK_EVERY_MS = 5000;
const SAVING_LOOK_EVERY_MS = 1000;
const BACKGROUND_LOOK_EVERY_MS = 5000;
const SHORTEST_WATCH_IN_MS = 20; // answers that come at once, again and again, must not become a storm

let world = null; // the last answer of `state`
let prepared = null; // a stream that loads out of sight while its session starts
let running = null; // the stream and its toolbar, while there is one
let turn = 0; // grows with every change of course; what belongs to an older turn stops by itself

function become(state) {
  document.body.dataset.state = state;
  turn += 1;
  if (state !== "stream") {
    running?.close();
    running = null;
  }
  if (state !== "waiting" && state !== "stream") {
    prepared?.close();
    prepared = null;
  }
  return turn;
}

/** Ask until there is an answer; refusals are thrown, an absent server is waited for. */
async function untilAnswered(ask, onAbsent) {
  let pause = FIRST_PAUSE_IN_MS;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isPassing) throw error;
      onAbsent?.(error);
      await wait(pause);
      pause = Math.min(pause * 1.5, LONGEST_PAUSE_IN_MS);
    }
  }
}

async function begin() {
  become("loading");
  showLoading();
  try {
    world = await untilAnswered(api.state, () => showRetrying("This page goes on by itself in a moment."));
  } catch (error) {
    refused(error);
    return;
  }
  document.title = `${world.catalog.stackName} – Fanlight`;
  if (world.session) enter(world.session);
  else choose();
}

function choose() {
  const { catalog, applicationId, mayStart } = world;
  if (!mayStart) {
    become("ended");
    showMessage("This link has expired", "No session of yours is running. Ask for a new link to start one.");
  } else if (applicationId || catalog.streamView === "DESKTOP") {
    start(null);
  } else {
    become("catalogue");
    showCatalogue(catalog, start);
  }
}

const PATIENCE = { SESSION_ENDING: "Your last session is just being closed…" };

async function start(applicationId) {
  const mine = become("waiting");
  let handle = null;
  let isCancelled = false;
  const waiting = showWaiting(nameOf(applicationId ?? world.applicationId), () => {
    if (handle) cancel(handle);
    else {
      isCancelled = true; // the request is on its way: what it brings is given back
      become("loading");
      showLoading("Cancelling…");
    }
  });
  try {
    const { session } = await untilAnswered(() => api.open(applicationId), (error) => waiting.progress(PATIENCE[error.code] ?? "Fanlight is starting up; still asking…"));
    ({ handle } = session);
    if (isCancelled) cancel(handle);
    else if (mine === turn) enter(session, waiting);
  } catch (error) {
    if (isCancelled) begin();
    else if (mine === turn) refused(error);
  }
}

function nameOf(applicationId) {
  const application = world.catalog.applications.find(({ id }) => id === applicationId);
  return application ? `Starting ${application.name}` : "Starting your desktop";
}

/** Follow a session until it ends; show what its state asks for. */
async function enter(first, waiting = null) {
  let mine = become("waiting");
  let session = first;
  let line = waiting;
  let pause = FIRST_PAUSE_IN_MS;
  while (mine === turn) {
    if (session.state === "EXPIRED") return ended(session.endReason, session);
    if (session.state === "ACTIVE") mine = stream(session) ?? mine;
    else {
      line ??= showWaiting(nameOf(session.applicationId), () => cancel(session.handle));
      line.progress(session.progress);
      if (session.isPlaced) prepare(session);
    }
    try {
      const [answer] = await Promise.all([api.change(session.handle, viewer, session.state), wait(SHORTEST_WATCH_IN_MS)]);
      pause = FIRST_PAUSE_IN_MS;
      if (mine !== turn) return;
      if (answer.isSuperseded) return superseded(session);
      ({ session } = answer);
      if (answer.isIdleDisconnected && session.state === "ACTIVE") return idle(session);
      running?.update(session, answer.now);
      running?.reachable(true);
    } catch (error) {
      if (mine !== turn) return;
      if (!(error instanceof ApiError) || !error.isPassing) return lost(error);
      running?.reachable(false);
      line?.progress("Fanlight is restarting; your place is kept…");
      await wait(pause);
      pause = Math.min(pause * 1.5, LONGEST_PAUSE_IN_MS);
    }
  }
}

async function cancel(handle) {
  become("loading");
  showLoading("Cancelling…");
  try {
    await endAndWait(handle);
  } catch {
    // It may have ended by itself; the next look tells.
  }
  begin();
}

/** End a session and wait until it has: files are saved and applications closed before a new one can begin. */
async function endAndWait(handle) {
  let { session } = await untilAnswered(() => api.end(handle));
  while (session.state !== "EXPIRED") {
    const asked = session.state;
    [{ session }] = await Promise.all([untilAnswered(() => api.change(handle, viewer, asked)), wait(SHORTEST_WATCH_IN_MS)]);
    if (!session) return null; // another page has it: what becomes of it is said there
  }
  return session;
}

/** Load the stream out of sight. The frame takes longer than the gateway to learn that this page has it: both begin at once. */
function prepare(session) {
  if (prepared) return;
  api.attach(session.handle, viewer).catch(() => {}); // what is wrong, the watch of the session says
  prepared = new Stream(document.getElementById("stage"), world.catalog.stackName);
}

/** Returns the new turn when the stream was shown just now, null when it runs already. */
function stream(session) {
  if (running) return null;
  prepare(session);
  const mine = become("stream");
  hideView();
  const shown = prepared;
  prepared = null;
  running = new Running(shown, world.catalog, session, world.now, {
    onEnd: () => end(session.handle),
    onKilled: () => killed(session),
    onStale: () => api.session(session.handle, viewer),
  });
  return mine;
}

/** The stream server gave the display to another socket: is that another page, or an old one of ours? */
async function killed(session) {
  const mine = turn;
  try {
    const answer = await untilAnswered(() => api.session(session.handle, viewer));
    if (mine !== turn) return;
    if (answer.isSuperseded) superseded(session);
    else running?.stream.reload();
  } catch (error) {
    if (mine === turn) lost(error);
  }
}

function superseded(session) {
  become("superseded");
  showMessage("Opened elsewhere", "Your session is now shown in another tab or on another device. Only one can show it at a time.",
    ["Use it here", () => { hideView(); enter(session); }]);
}

/** The longest duration may be over before the time to come back is. */
function keptFor(session) {
  return Math.max(0, Math.min(session.disconnectTimeoutInSeconds, session.maxExpiresAt - Date.now() / 1000));
}

/** Nobody used the session: its stream is cut, and stays so until the user says otherwise. */
async function idle(session) {
  const mine = become("idle");
  showMessage("You were disconnected because of inactivity",
    `Your session is kept for ${inWords(keptFor(session))}, with everything that is open in it.`,
    ["Reconnect", () => reconnect(session)]);
  while (mine === turn) {
    await wait(IDLE_LOOK_EVERY_MS);
    if (mine !== turn) return;
    try {
      const answer = await untilAnswered(() => api.session(session.handle, viewer));
      if (mine !== turn) return;
      if (answer.isSuperseded) superseded(session);
      else if (answer.session.state === "EXPIRED") ended(answer.session.endReason, answer.session);
    } catch (error) {
      if (mine === turn) lost(error);
    }
  }
}

async function reconnect(session) {
  const mine = become("loading");
  showLoading("Reconnecting…");
  try {
    await untilAnswered(() => api.attach(session.handle, viewer)); // before that, no stream is given
    if (mine === turn) enter(session);
  } catch (error) {
    if (mine === turn) lost(error);
  }
}

async function end(handle) {
  const mine = become("loading");
  showLoading("Ending your session…");
  try {
    const session = await endAndWait(handle);
    if (mine === turn) ended(session?.endReason ?? "USER", session);
  } catch (error) {
    if (mine === turn) lost(error);
  }
}

/** `session` is null when the server does not know it any more. */
async function ended(reason, session = null) {
  const mine = become("ended");
  const { redirectUrl, feedbackUrl } = world.catalog;
  let last = session;
  let shown = showEnded(reason, world.catalog, null, session);
  followSaving(session, () => mine === turn, (newer) => {
    last = newer;
    shown.saving(newer.unsent, newer.settingsLoss);
  });
  try {
    world = await untilAnswered(api.state);
  } catch {
    return; // the page already says that it has ended
  }
  // The stack may have got other addresses since this page was loaded: those of now count.
  const isNews = world.catalog.redirectUrl !== redirectUrl || world.catalog.feedbackUrl !== feedbackUrl;
  if (mine === turn && (world.mayStart || isNews)) shown = showEnded(reason, world.catalog, world.mayStart ? () => begin() : null, last);
}

/** Tell of what the user saved and has not arrived, until it has or the page shows something else. */
async function followSaving(session, isShown, tell) {
  let { unsent } = session ?? {};
  while (unsent && !unsent.areLost) {
    await wait(unsent.isWaitedFor ? SAVING_LOOK_EVERY_MS : BACKGROUND_LOOK_EVERY_MS);
    if (!isShown()) return;
    try {
      const answer = await untilAnswered(() => api.session(session.handle, viewer));
      if (!answer.session || !isShown()) return;
      ({ unsent } = answer.session);
      tell(answer.session);
    } catch {
      return; // what was said last stays
    }
  }
}

function lost(error) {
  if (error.code === "NOT_FOUND") ended(null);
  else refused(error);
}

const REFUSALS = {
  NOT_SIGNED_IN: "Open your streaming link again",
  NO_CAPACITY: "Everything is in use",
  FLEET_NOT_RUNNING: "The applications are switched off",
  IMAGE_BUILDER_NOT_RUNNING: "The image builder is not running",
  EXPIRED: "This link has expired",
  NOT_FOUND: "These applications are gone",
  NOT_FROM_HERE: "This does not open from here",
};

function refused(error) {
  become("refused");
  const isFinal = error.code === "NOT_SIGNED_IN" || error.code === "EXPIRED";
  showMessage(REFUSALS[error.code] ?? "This did not work", error.message, ...(isFinal ? [] : [["Try again", begin]]));
}

if (window.isSecureContext) {
  begin();
} else {
  become("insecure");
  showMessage("A secure connection is needed",
    "Browsers decode the stream only on https, or on localhost. Open this page by https. If you run Fanlight: give it a certificate (fanlight tls self-signed, then --tls-cert and --tls-key), or put it behind a proxy with --public-url.");
}
