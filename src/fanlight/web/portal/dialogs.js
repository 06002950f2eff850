// Questions that wait for an answer, and menus. Escape means no.

import { h } from "./dom.js";

const host = document.getElementById("panels");

function asked(dialog, build) {
  host.append(dialog);
  dialog.showModal();
  return new Promise((decide) => {
    const done = (answer) => { dialog.close(); dialog.remove(); decide(answer); }; // closing gives the focus back
    dialog.addEventListener("cancel", () => done(null));
    build(done);
  });
}

/** Ask for a text; resolves to it, or to null. `selected`: how much of it is marked. */
export function askText(title, label, button, value = "", selected = value.length) {
  const field = h("input", { type: "text", value, maxLength: 255, "aria-label": label, autocomplete: "off", spellcheck: false, autofocus: true });
  const form = h("form", { method: "dialog" }, h("h2", {}, title), h("label.field", {}, label, field),
    h("div.actions", {}, h("button.primary", { type: "submit" }, button), h("button", { type: "button", value: "no" }, "Cancel")));
  const dialog = h("dialog.confirm", { "aria-label": title }, form);
  return asked(dialog, (done) => {
    form.onsubmit = (event) => { event.preventDefault(); done(field.value); };
    form.querySelector('[value="no"]').onclick = () => done(null);
    field.focus();
    field.setSelectionRange(0, selected);
  });
}

/** Ask before something that cannot be undone; `words` are elements or texts. Resolves to true, or null. */
export function askWhether(title, words, button) {
  const yes = h("button.danger", { type: "button" }, button);
  const no = h("button", { type: "button", autofocus: true }, "Cancel");
  const dialog = h("dialog.confirm", { "aria-label": title }, h("h2", {}, title), h("p", {}, words), h("div.actions", {}, yes, no));
  return asked(dialog, (done) => {
    yes.onclick = () => done(true);
    no.onclick = () => done(null);
  });
}

/** Open a menu at a button. `items`: [{label, run, isDanger}]. */
export function openMenu(button, items) {
  const menu = h("div.menu-box", { role: "menu" }, items.map(({ label, run, isDanger }) =>
    h(isDanger ? "button.item.risky" : "button.item", { type: "button", role: "menuitem", tabIndex: -1, onclick: () => { close(true); run(); } }, label)));
  const place = button.getBoundingClientRect();
  const close = (isBack) => {
    document.removeEventListener("pointerdown", outside, true);
    window.removeEventListener("blur", away);
    button.setAttribute("aria-expanded", "false");
    menu.remove();
    if (isBack) button.focus();
  };
  const outside = (event) => { if (!menu.contains(event.target)) close(false); };
  const away = () => close(false);
  menu.addEventListener("keydown", (event) => {
    const all = [...menu.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  (button.closest(".panel") ?? host).append(menu);
  menu.style.right = `${Math.max(8, innerWidth - place.right)}px`;
  const fitsBelow = place.bottom + menu.offsetHeight + 8 < innerHeight;
  menu.style.top = `${fitsBelow ? place.bottom + 2 : Math.max(8, place.top - menu.offsetHeight - 2)}px`;
  button.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  window.addEventListener("blur", away);
  menu.firstElementChild.focus();
}
