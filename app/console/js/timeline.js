/** A customer's timeline, newest events first. */

import { badge, element, externalLink, field, section } from "/console/js/dom.js";
import { day, instant, money } from "/console/js/format.js";
import { labelOf, SOURCES, TIMELINE_KINDS } from "/console/js/labels.js";
import { pagedList } from "/console/js/paged_list.js";

export function timelineSection(customerId) {
  const kind = element("select", null, element("option", { value: "" }, "Everything"), Object.entries(TIMELINE_KINDS).map(([code, label]) => element("option", { value: code }, label)));
  const list = pagedList(`/api/customers/${customerId}/timeline`, {
    limit: 20,
    empty: (query) => (query.kind ? "There are no events of this kind." : "There are no events yet."),
    render: (items) => element("ol", { class: "timeline" }, items.map(renderEvent)),
  });
  kind.addEventListener("change", () => list.show({ kind: kind.value }));
  list.show({});
  return section("Timeline", element("div", { class: "filters" }, field("Show", kind)), list.node);
}

function renderEvent(event) {
  return element("li", null,
    element("div", { class: "event-time" }, timeOf(event)),
    element("div", { class: "event-text" },
      element("p", null, element("strong", null, event.title), event.amount !== null && [" ", money(event.amount, event.currency ?? "")]),
      event.detail && element("p", { class: "hint" }, event.detail),
      element("p", { class: "event-source" }, badge(labelOf(SOURCES, event.source), "source"), event.link && externalLink(event.link, `Open in ${labelOf(SOURCES, event.source)}`, event.title))),
  );
}

const MIDNIGHT = "T00:00:00Z";

/** Events of documents have a date only, sent as midnight UTC; in another time zone that could be another day. */
function timeOf({ at, kind }) {
  const hasDateOnly = at.endsWith(MIDNIGHT) && kind !== "ticket" && kind !== "device_alert";
  return hasDateOnly ? day(at.slice(0, -MIDNIGHT.length)) : instant(at);
}
