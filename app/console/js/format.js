/** Formats times, amounts and sizes. */

import { element } from "/console/js/dom.js";

const INSTANT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const COUNT = new Intl.NumberFormat();
const UNIT_SECONDS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
const REFRESH_MS = 20_000;

export const count = (number) => COUNT.format(number);

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** An instant in the browser's time zone, with the instant in UTC as its tooltip. */
export function instant(iso, missing = "never") {
  return iso ? timeNode(iso, INSTANT.format(new Date(iso))) : missing;
}

/** An instant relative to now, such as "2 minutes ago"; kept up to date by `refreshRelativeTimes`. */
export function relativeTime(iso, missing = "never") {
  if (!iso) return missing;
  const node = timeNode(iso, relativeText(iso));
  node.classList.add("relative");
  return node;
}

export function relativeText(iso) {
  const seconds = Math.round((new Date(iso) - Date.now()) / 1000);
  const [unit, length] = UNIT_SECONDS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  if (unit === "second" && Math.abs(seconds) < 10) return seconds > 0 ? "in a few seconds" : "just now";
  return RELATIVE.format(Math.trunc(seconds / length), unit);
}

/** Update all relative times on the page periodically. */
export function refreshRelativeTimes() {
  setInterval(() => {
    for (const node of document.querySelectorAll("time.relative")) node.textContent = relativeText(node.dateTime);
  }, REFRESH_MS);
}

/** A calendar date; the same day in every time zone. */
export function day(date, missing = "–") {
  return date ? element("time", { datetime: date }, DAY.format(new Date(`${date}T00:00:00Z`))) : missing;
}

/**
 * An amount, exactly as the API sent it: it is never converted to a number. The thousands are separated by CSS only, so
 * that a copied amount contains no separators.
 */
export function money(amount, currency = "") {
  const [, sign, whole, fraction] = /^(-?)(\d+)(.*)$/.exec(amount) ?? ["", "", "", amount];
  const groups = whole.match(/\d{1,3}(?=(\d{3})*$)/g) ?? [];
  const digits = groups.map((group, index) => (index ? element("span", { class: "thousands" }, group) : group));
  return element("span", { class: "money" }, currency && element("span", { class: "currency" }, `${currency} `), element("span", null, sign, digits, fraction));
}

/** Whether an amount, given as text, is zero. */
export const isZero = (amount) => /^-?0*\.?0*$/.test(amount);

export function bytes(size) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let index = 0;
  let scaled = size;
  while (scaled >= 1000 && index < units.length - 1) {
    scaled /= 1000;
    index += 1;
  }
  return `${index ? scaled.toFixed(1) : scaled} ${units[index]}`;
}

export function intervalText(seconds) {
  return seconds % 60 ? `every ${count(seconds)} seconds` : seconds === 60 ? "every minute" : `every ${count(seconds / 60)} minutes`;
}

export function durationText(from, until) {
  const seconds = (new Date(until) - new Date(from)) / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function timeNode(iso, text) {
  return element("time", { datetime: iso, title: `${iso.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, "")} UTC` }, text);
}
