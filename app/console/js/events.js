/** Webhook events: what Xero told of, what became of it, and working it off again. */

import { all, call, XERO } from "/console/js/api.js";
import { badge, busy, field, fill, h, table } from "/console/js/dom.js";
import { ago, count, instant, plural } from "/console/js/format.js";
import { growingList } from "/console/js/lists.js";
import { outlet } from "/console/js/notices.js";
import { EVENT_STATUS, sayStatus } from "/console/js/words.js";

const CATEGORIES = { INVOICE: "Invoices", CONTACT: "Contacts", CREDITNOTE: "Credit notes", SUBSCRIPTION: "Subscriptions" };

export function showEvents(page, session) {
  const status = choice("All", Object.entries(EVENT_STATUS).map(([code, [words]]) => [code, words]));
  const category = choice("All", Object.entries(CATEGORIES));
  const picked = new Set();
  const replay = session.isAdmin ? replayForm({ picked, filters, again: () => show() }) : null;
  let names = new Map();
  const naming = all(`${XERO}/tenants`).then((tenants) => { names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name])); }, () => undefined);
  const list = growingList(`${XERO}/webhook-events`, {
    empty: (query) => (query.status || query.category ? "No event fits." : "No webhook event has come yet. With a signing key set and webhooks switched on in Xero, they show here within seconds."),
    prepare: () => naming,
    draw: (items) => table("Webhook events", columns(session), items.map((event) => row(event, names, session.isAdmin && tick(event, picked, replay)))),
  });

  function filters() {
    return { status: status.value, category: category.value };
  }

  function show() {
    picked.clear();
    replay?.tell();
    return list.show(filters());
  }

  status.addEventListener("change", show);
  category.addEventListener("change", show);
  fill(page,
    h("h1", { tabindex: "-1" }, "Webhook events"),
    h("p", { class: "lead" }, "Every event Xero delivered with a good signature is kept, with what became of it. Working one off again reads the record from Xero anew; doing so twice changes nothing twice."),
    h("div", { class: "filters" }, field("Status", status), field("About", category)),
    replay ? replay.node : h("p", { class: "hint" }, "An administrator can have events worked off again."),
    h("div", { class: "panel" }, list.node),
  );
  show();
}

function choice(everything, options) {
  return h("select", null, h("option", { value: "" }, everything), options.map(([code, words]) => h("option", { value: code }, words)));
}

function columns(session) {
  return [...(session.isAdmin ? [["Pick"]] : []), ["Received"], ["Organisation"], ["Event"], ["Status"], ["Attempts", "number"], ["Deliveries", "number"]];
}

function row(event, names, box) {
  const what = h("div", null, `${event.category} ${event.event_type}`, h("div", { class: "hint mono" }, event.resource_id));
  const state = h("div", null, badge(...sayStatus(EVENT_STATUS, event.status)), event.error && h("p", { class: "hint" }, event.error), event.processed_at && h("p", { class: "hint" }, "done ", ago(event.processed_at)));
  return [...(box ? [box] : []), instant(event.received_at), names.get(event.tenant_id) ?? event.tenant_id, what, state, count(event.attempts), count(event.deliveries)];
}

function tick(event, picked, replay) {
  const box = h("input", { type: "checkbox", checked: picked.has(event.id), "aria-label": `Pick ${event.category} ${event.event_type} ${event.resource_id}` });
  box.addEventListener("change", () => {
    if (box.checked) picked.add(event.id);
    else picked.delete(event.id);
    replay.tell();
  });
  return box;
}

function replayForm({ picked, filters, again }) {
  const out = outlet();
  const reason = h("input", { type: "text", required: true, maxlength: "500", autocomplete: "off" });
  const button = h("button", null, "Replay");
  const node = h("form", { class: "panel" }, field("Reason for a replay", reason, "Kept in the audit trail with your name."), h("p", null, button), out.node);

  const wanted = () => (picked.size ? { ids: [...picked] } : { filter: Object.fromEntries(Object.entries(filters()).filter(([, value]) => value)) });

  function tell() {
    const { status, category } = filters();
    const every = status || category ? "Replay all that fit the filter" : "Replay every event";
    button.textContent = picked.size ? `Replay ${plural(picked.size, "picked event")}` : every;
  }

  node.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!picked.size && !window.confirm(`${button.textContent}? Each is read from Xero anew, which costs calls.`)) return;
    busy(button, "Replaying…", async () => {
      const done = await out.attempt(() => call("POST", `${XERO}/webhook-events/replay`, { body: { ...wanted(), reason: reason.value } }));
      if (!done) return;
      reason.value = "";
      await again();
      out.good(`${plural(done.replayed, "event")} will be worked off again`, "The list shows them as they are done.");
    }).then(tell);
  });
  tell();
  return { node, tell };
}
