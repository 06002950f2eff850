// Names of files, numbers and times, for people to read. A name may hold anything, and must neither hide nor pretend.

import { h } from "./dom.js";

// What shows nothing, or turns the reading direction round: it is shown as what it is.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufeff\ufff9-\uffff]|[\u{e0000}-\u{e007f}]/gu;

export function readable(name) {
  const seen = name.replace(UNSEEN, (sign) => {
    const code = sign.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "\u2421" : code === 0xfffd ? sign : `‹${code.toString(16).toUpperCase().padStart(4, "0")}›`;
  });
  return seen.replace(/^ +| +$/g, (blanks) => "␣".repeat(blanks.length));
}

/** A name that cannot mix with the words around it. */
export const nameOf = (name) => h("bdi", {}, readable(name));

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** 1536 → "1.5 kB". */
export function sizeInWords(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? (bytes === 1 ? "1 byte" : `${bytes} bytes`) : `${value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0${UNITS[unit]}`;
}

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });

/** Today the time, else the day. */
export function timeInWords(seconds) {
  if (!seconds) return "";
  const at = new Date(seconds * 1000);
  return at.toDateString() === new Date().toDateString() ? moment.format(at) : day.format(at);
}
