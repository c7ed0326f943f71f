/** How times, amounts and sizes are shown. */

import { h } from "/console/js/dom.js";

const INSTANT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const COUNT = new Intl.NumberFormat();
const STEPS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
const REFRESH_MS = 20_000;

export const count = (number) => COUNT.format(number);

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** An instant in the reader's own zone, with the UTC instant on hover. */
export function instant(iso, missing = "never") {
  return iso ? timeNode(iso, INSTANT.format(new Date(iso))) : missing;
}

/** An instant as distance from now; it keeps itself up to date. */
export function ago(iso, missing = "never") {
  if (!iso) return missing;
  const node = timeNode(iso, distance(iso));
  node.classList.add("ago");
  return node;
}

export function distance(iso) {
  const seconds = Math.round((new Date(iso) - Date.now()) / 1000);
  const [unit, length] = STEPS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  if (unit === "second" && Math.abs(seconds) < 10) return seconds > 0 ? "any moment" : "just now";
  return RELATIVE.format(Math.trunc(seconds / length), unit);
}

export function keepDistancesFresh() {
  setInterval(() => {
    for (const node of document.querySelectorAll("time.ago")) node.textContent = distance(node.dateTime);
  }, REFRESH_MS);
}

/** A calendar date, which is the same day wherever it is read. */
export function day(date, missing = "–") {
  return date ? h("time", { datetime: date }, DAY.format(new Date(`${date}T00:00:00Z`))) : missing;
}

/**
 * An amount exactly as it came: it is never a number here. Thousands are set apart by spacing alone, so that what is
 * copied is what was sent.
 */
export function money(amount, currency = "") {
  const [, sign, whole, fraction] = /^(-?)(\d+)(.*)$/.exec(amount) ?? ["", "", "", amount];
  const groups = whole.match(/\d{1,3}(?=(\d{3})*$)/g) ?? [];
  const digits = groups.map((group, place) => (place ? h("span", { class: "thousands" }, group) : group));
  return h("span", { class: "money" }, currency && h("span", { class: "currency" }, `${currency} `), h("span", null, sign, digits, fraction));
}

/** Whether an amount is nothing, told from its text. */
export const isNothing = (amount) => /^-?0*\.?0*$/.test(amount);

export function bytes(size) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let step = 0;
  let left = size;
  while (left >= 1000 && step < units.length - 1) {
    left /= 1000;
    step += 1;
  }
  return `${step ? left.toFixed(1) : left} ${units[step]}`;
}

export function every(seconds) {
  return seconds % 60 ? `every ${count(seconds)} seconds` : seconds === 60 ? "every minute" : `every ${count(seconds / 60)} minutes`;
}

export function lasted(from, until) {
  const seconds = (new Date(until) - new Date(from)) / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function timeNode(iso, text) {
  return h("time", { datetime: iso, title: `${iso.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, "")} UTC` }, text);
}
