// What the page shows while there is no stream: catalogue, waiting, ended, refused. One at a time, in #view.

import { h, icon, inFiles, inSize, wait } from "./dom.js";

const view = document.getElementById("view");
const MARK = new URL("favicon.svg", import.meta.url).pathname;

/** Show nothing: the stream has the page. */
export function hideView() {
  view.hidden = true;
  view.replaceChildren();
}

function show(...children) {
  view.hidden = false;
  view.replaceChildren(...children);
}

function card(title, ...children) {
  cardUnder(h("img.mark", { src: MARK, alt: "", width: 48, height: 48 }), title, ...children);
}

function cardUnder(picture, title, ...children) {
  const heading = h("h1", { tabIndex: -1 }, title);
  show(h("section.card", {}, picture, heading, ...children));
  heading.focus({ preventScroll: true });
}

function buttons(...actions) {
  const made = actions.filter(Boolean).map(([label, onclick], index) =>
    h(index === 0 ? "button.primary" : "button", { type: "button", onclick }, label));
  return made.length ? h("div.actions", {}, made) : null;
}

const dots = () => h("p.dots", { "aria-hidden": "true" }, h("i"), h("i"), h("i"));

export function showLoading(text = "Opening…") {
  show(h("section.card.quiet", {}, h("img.mark.breathing", { src: MARK, alt: "", width: 48, height: 48 }), h("p", { role: "status" }, text)));
}

export function showMessage(title, text, ...actions) {
  card(title, h("p", {}, text), buttons(...actions));
}

export function showRetrying(text) {
  card("Fanlight is starting up", h("p", { role: "status" }, text), dots());
}

/** A picture, or the first letter where an application has none. */
export function applicationTile(application, onclick) {
  const letter = () => h("span.letter", { "aria-hidden": "true" }, [...application.name][0] ?? "?");
  const picture = application.icon ? h("img", { src: application.icon, alt: "", width: 56, height: 56, draggable: false }) : letter();
  if (application.icon) picture.addEventListener("error", () => picture.replaceWith(letter()), { once: true });
  return h("button.tile", { type: "button", onclick, title: application.description || undefined }, picture,
    h("span.tile-name", {}, application.name));
}

export function showCatalogue(catalog, onChoose) {
  const heading = h("h1", { tabIndex: -1 }, catalog.stackName);
  const tiles = catalog.applications.map((application) => h("li", {}, applicationTile(application, () => onChoose(application.id))));
  show(
    h("section.catalogue", {},
      h("header", {}, h("img.mark", { src: MARK, alt: "", width: 40, height: 40 }), h("div", {}, heading, h("p", {}, "Choose an application to start."))),
      tiles.length ? h("ul.tiles", {}, tiles) : h("p.empty", {}, "This fleet's image has no applications.")),
  );
  heading.focus({ preventScroll: true });
}

/** Returns {progress(text)}. Says how long it takes as soon as that is worth saying. */
export function showWaiting(title, onCancel) {
  const text = h("p.progress", { role: "status", "aria-live": "polite" }, "Asking for an instance…");
  const elapsed = h("p.detail", {});
  cardUnder(h("div.rays", { "aria-hidden": "true" }, h("i"), h("i"), h("i"), h("i"), h("i")), title, text, elapsed, buttons(["Cancel", onCancel]));
  view.querySelector("button").classList.remove("primary");
  const started = Date.now();
  (async () => {
    while (text.isConnected) {
      const seconds = Math.floor((Date.now() - started) / 1000);
      elapsed.textContent = seconds >= 5 ? `${seconds} s so far` : "";
      await wait(1000);
    }
  })();
  return { progress(words) { if (words && words !== text.textContent) text.textContent = words; } };
}

const ENDS = {
  USER: ["Your session has ended", "You ended it. What was not saved elsewhere is gone with the instance."],
  EXPIRED_BY_ADMINISTRATOR: ["Your session was ended", "Your administrator ended it."],
  DISCONNECT_TIMEOUT: ["Your session has ended", "You were disconnected for longer than this fleet allows."],
  IDLE_TIMEOUT: ["Your session has ended", "You were disconnected because of inactivity, and did not come back in time."],
  MAX_DURATION: ["Your session has ended", "It reached the longest time that this fleet allows."],
  FLEET_STOPPED: ["Your session was ended", "The fleet was stopped by an administrator."],
  INSTANCE_LOST: ["Your session was lost", "The instance that ran it failed. A fresh one takes its place."],
  START_FAILED: ["Your session could not start", "The instance did not come up. It has been removed; a new try gets a fresh one."],
  NO_CAPACITY: ["Everything is in use", "No instance became free in time. Try again in a few minutes."],
};
const BUILDER_ENDS = {
  USER: ["Your session has ended", "The programs were closed. The image builder goes on as it is, with everything on its disk."],
  MAX_DURATION: ["Your session has ended", "It lasted five days. The image builder goes on as it is, with everything on its disk."],
  FLEET_STOPPED: ["The image builder is not running any more", "It was stopped or deleted, or an image is being made of it. The session in it was ended."],
  INSTANCE_LOST: ["Your session was lost", "The image builder was restarted from within, or its desktop failed. What is on its disk is still there."],
  START_FAILED: ["Your session could not start", "The desktop of the image builder did not come up. Try again, or stop the image builder and start it."],
};
const STUDIO_ENDS = {
  USER: ["You left your session", "The programs were closed. The machine goes on, with everything on its disk: open a new stream to come back."],
  MAX_DURATION: ["Your session has ended", "It reached the longest time that its launch profile allows."],
  FLEET_STOPPED: ["Your session was stopped", "It was stopped or deleted, or has reached its longest time. A stopped session keeps its disk: start it to go on."],
  INSTANCE_LOST: ["Your session was interrupted", "Its machine was restarted, or its desktop failed. What is on its disk is still there: open a new stream."],
  START_FAILED: ["The desktop could not start", "Try again, or stop the session and start it."],
};
const REDIRECTS_AFTER = new Set(["USER", "EXPIRED_BY_ADMINISTRATOR", "DISCONNECT_TIMEOUT", "IDLE_TIMEOUT", "MAX_DURATION", "FLEET_STOPPED", "INSTANCE_LOST"]);
const REDIRECT_IN_SECONDS = 10;

const KEPT = "You ended it. What you saved in your home folder is kept; the rest is gone with the instance.";
const WITHOUT_FILES = new Set(["NO_CAPACITY", "START_FAILED"]);

const STAY = "Stay here";
const SETTINGS_LOSSES = {
  TOO_LARGE: "Your settings were not saved: they are larger than your administrator allows. Those of before this session are kept.",
  NOT_SAVED: "Your settings were not saved: something went wrong. Those of before this session are kept.",
};

/** What becomes of what the user saved; `files` is null when everything has arrived. */
function savingWords(files) {
  if (!files) return "All your files are saved.";
  if (files.areLost) return `${inFiles(files.count)} (${inSize(files.size)}) could not be saved.`;
  const left = files.count ? `${inFiles(files.count)}, ${inSize(files.size)} left` : "";
  if (files.isWaitedFor) return left ? `Saving your files: ${left}` : "Saving your files…";
  return `Some of your files are not saved yet${left ? `: ${left}` : ""}. They will be uploaded in the background; you can close this page.`;
}

/** `startAgain` is null when the link allows no new session. `session` is as the server told of it last, null when it
 *  knows it no more. Returns {saving(files, loss)}: say what is left to be saved, and why settings were not. Nobody is sent away before that is known. */
export function showEnded(reason, catalog, startAgain, session = null) {
  const ends = catalog?.isImageBuilder ? BUILDER_ENDS : catalog?.isStudioSession ? STUDIO_ENDS : ENDS;
  const [title, usual] = ends[reason] ?? ENDS[reason] ?? ["Your session has ended", "It is no longer running."];
  const hasFiles = Boolean(session?.hasFolders || session?.unsent) && !WITHOUT_FILES.has(reason);
  const text = hasFiles && reason === "USER" ? KEPT : usual;
  const saving = hasFiles ? h("p.saving-files", { role: "status" }) : null;
  const target = REDIRECTS_AFTER.has(reason) ? catalog?.redirectUrl : null;
  const going = target ? h("p.detail", { role: "status" }) : null;
  const settings = h("p.lost-settings", { role: "status", hidden: true });
  let isStaying = false;
  card(title, h("p", {}, text),
    saving,
    settings,
    startAgain ? null : h("p", {}, "To start again, open a new streaming link."),
    buttons(
      startAgain ? [reason === "NO_CAPACITY" || reason === "START_FAILED" ? "Try again" : "Start again", startAgain] : null,
      target ? [STAY, () => { isStaying = true; going.remove(); }] : null),
    going,
    links(catalog, target));
  const stay = [...view.querySelectorAll("button")].find((button) => button.textContent === STAY);
  let isGoing = false;
  const say = (files, loss) => {
    settings.hidden = !(loss in SETTINGS_LOSSES);
    settings.textContent = SETTINGS_LOSSES[loss] ?? "";
    if (!settings.hidden) stay?.remove();
    if (saving) {
      const words = savingWords(files);
      if (saving.textContent !== words) saving.textContent = words;
      saving.dataset.level = files?.areLost ? "lost" : files?.isWaitedFor ? "busy" : files ? "later" : "done";
    }
    if (target && !isGoing && !files?.isWaitedFor && settings.hidden) { // who has to read something is not sent away
      isGoing = true;
      countDown(going, target, () => isStaying);
    }
  };
  say(session?.unsent ?? null, session?.settingsLoss);
  return { saving: say };
}

function links(catalog, target) {
  const external = { rel: "noopener noreferrer", referrerPolicy: "no-referrer" };
  const made = [
    target ? h("a", { href: target, ...external }, `Go to ${new URL(target).host}`) : null,
    catalog?.feedbackUrl ? h("a", { href: catalog.feedbackUrl, target: "_blank", ...external }, "Give feedback") : null,
  ].filter(Boolean);
  return made.length ? h("p.links", {}, made) : null;
}

async function countDown(line, target, isStaying) {
  for (let seconds = REDIRECT_IN_SECONDS; seconds > 0; seconds -= 1) {
    line.textContent = `You are taken to ${new URL(target).host} in ${seconds}\u00a0s.`;
    await wait(1000);
    if (isStaying() || !line.isConnected) return;
  }
  location.assign(target);
}

/** Returns {close()}: lies over the stream's last picture. */
export function cover(stage, title, text, ...actions) {
  const made = h("div.cover", { role: "alert" }, h("section.card", {}, h("h2", {}, title), h("p", {}, text), actions.length ? buttons(...actions) : dots()));
  stage.append(made);
  return { close: () => made.remove() };
}

export { icon };
