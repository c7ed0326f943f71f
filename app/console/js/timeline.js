/** What happened to a customer, newest first. */

import { badge, field, h, outLink, section } from "/console/js/dom.js";
import { day, instant, money } from "/console/js/format.js";
import { growingList } from "/console/js/lists.js";
import { KINDS, say, SOURCES } from "/console/js/words.js";

export function timelineSection(customerId) {
  const kind = h("select", null, h("option", { value: "" }, "Everything"), Object.entries(KINDS).map(([code, words]) => h("option", { value: code }, words)));
  const list = growingList(`/api/customers/${customerId}/timeline`, {
    limit: 20,
    empty: (query) => (query.kind ? "Nothing of this kind has happened." : "Nothing has happened yet."),
    draw: (items) => h("ol", { class: "timeline" }, items.map(draw)),
  });
  kind.addEventListener("change", () => list.show({ kind: kind.value }));
  list.show({});
  return section("Timeline", h("div", { class: "filters" }, field("Show", kind)), list.node);
}

function draw(event) {
  return h("li", null,
    h("div", { class: "when" }, when(event)),
    h("div", { class: "what" },
      h("p", null, h("strong", null, event.title), event.amount !== null && [" ", money(event.amount, event.currency ?? "")]),
      event.detail && h("p", { class: "hint" }, event.detail),
      h("p", { class: "origin" }, badge(say(SOURCES, event.source), "source"), event.link && outLink(event.link, `Open in ${say(SOURCES, event.source)}`, event.title))),
  );
}

const MIDNIGHT = "T00:00:00Z";

/** Documents have a calendar date, told as its midnight; moving that to the reader's zone could make it another day. */
function when({ at, kind }) {
  const hasDateOnly = at.endsWith(MIDNIGHT) && kind !== "ticket" && kind !== "device_alert";
  return hasDateOnly ? day(at.slice(0, -MIDNIGHT.length)) : instant(at);
}
