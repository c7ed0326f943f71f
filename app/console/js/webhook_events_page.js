/** The page of webhook events: what Xero delivered, its processing status, and replays. */

import { call, getAll, INTEGRATION_PATH } from "/console/js/api.js";
import { badge, element, field, fill, table, whileBusy } from "/console/js/dom.js";
import { count, instant, plural, relativeTime } from "/console/js/format.js";
import { EVENT_STATUS, statusLabel } from "/console/js/labels.js";
import { resultArea } from "/console/js/notices.js";
import { pagedList } from "/console/js/paged_list.js";

const CATEGORIES = { INVOICE: "Invoices", CONTACT: "Contacts", CREDITNOTE: "Credit notes", SUBSCRIPTION: "Subscriptions" };

export function showWebhookEvents(page, session) {
  const status = select("All", Object.entries(EVENT_STATUS).map(([code, [label]]) => [code, label]));
  const category = select("All", Object.entries(CATEGORIES));
  const selectedIds = new Set();
  const replay = session.isAdmin ? replayForm({ selectedIds, filters, onChanged: () => show() }) : null;
  let names = new Map();
  const namesLoaded = getAll(`${INTEGRATION_PATH}/tenants`).then((tenants) => { names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name])); }, () => undefined);
  const list = pagedList(`${INTEGRATION_PATH}/webhook-events`, {
    empty: (query) => (query.status || query.category ? "No event matches." : "No webhook event has been received yet. With a signing key here and webhooks enabled in Xero, events appear within seconds."),
    prepare: () => namesLoaded,
    render: (items) => table("Webhook events", columns(session), items.map((event) => row(event, names, session.isAdmin && selectionBox(event, selectedIds, replay)))),
  });

  function filters() {
    return { status: status.value, category: category.value };
  }

  function show() {
    selectedIds.clear();
    replay?.updateButton();
    return list.show(filters());
  }

  status.addEventListener("change", show);
  category.addEventListener("change", show);
  fill(page,
    element("h1", { tabindex: "-1" }, "Webhook events"),
    element("p", { class: "lead" }, "Every event that Xero delivered with a valid signature, and its processing status. A replay reads the record from Xero again; replaying an event twice does no harm."),
    element("div", { class: "filters" }, field("Status", status), field("About", category)),
    replay ? replay.node : element("p", { class: "hint" }, "An administrator can replay and dismiss events."),
    element("div", { class: "panel" }, list.node),
  );
  show();
}

function select(allLabel, options) {
  return element("select", null, element("option", { value: "" }, allLabel), options.map(([code, label]) => element("option", { value: code }, label)));
}

function columns(session) {
  return [...(session.isAdmin ? [["Select"]] : []), ["Received"], ["Organisation"], ["Event"], ["Status"], ["Attempts", "number"], ["Deliveries", "number"]];
}

function row(event, names, checkbox) {
  const what = element("div", null, `${event.category} ${event.event_type}`, element("div", { class: "hint mono" }, event.resource_id));
  const state = element("div", null, badge(...statusLabel(EVENT_STATUS, event.status)), event.error && element("p", { class: "hint" }, event.error), event.processed_at && element("p", { class: "hint" }, "processed ", relativeTime(event.processed_at)));
  return [...(checkbox ? [checkbox] : []), instant(event.received_at), names.get(event.tenant_id) ?? event.tenant_id, what, state, count(event.attempts), count(event.deliveries)];
}

function selectionBox(event, selectedIds, replay) {
  const box = element("input", { type: "checkbox", checked: selectedIds.has(event.id), "aria-label": `Select ${event.category} ${event.event_type} ${event.resource_id}` });
  box.addEventListener("change", () => {
    if (box.checked) selectedIds.add(event.id);
    else selectedIds.delete(event.id);
    replay.updateButton();
  });
  return box;
}

function replayForm({ selectedIds, filters, onChanged }) {
  const result = resultArea();
  const reason = element("input", { type: "text", required: true, maxlength: "500", autocomplete: "off" });
  const button = element("button", null, "Replay");
  const dismiss = element("button", { type: "button", class: "plain" }, "Dismiss");
  const node = element("form", { class: "panel" },
    field("Reason for a replay or a dismissal", reason, "Kept in the audit trail with your name."),
    element("p", { class: "actions" }, button, dismiss, element("span", { class: "hint" }, "A dismissed event no longer counts as failed; only those that were given up can be dismissed.")),
    result.node);

  const selection = () => (selectedIds.size ? { ids: [...selectedIds] } : { filter: Object.fromEntries(Object.entries(filters()).filter(([, value]) => value)) });

  function updateButton() {
    const { status, category } = filters();
    const allLabel = status || category ? "Replay all events that match the filters" : "Replay every event";
    button.textContent = selectedIds.size ? `Replay ${plural(selectedIds.size, "selected event")}` : allLabel;
    dismiss.textContent = selectedIds.size ? `Dismiss ${plural(selectedIds.size, "selected event")}` : "Dismiss every event that was given up";
  }

  async function sendDismissals() {
    const body = { reason: reason.value };
    if (!selectedIds.size) return (await call("POST", `${INTEGRATION_PATH}/webhook-events/dismiss`, { body })).dismissed;
    for (const id of selectedIds) await call("POST", `${INTEGRATION_PATH}/webhook-events/${id}/dismiss`, { body });
    return selectedIds.size;
  }

  dismiss.addEventListener("click", () => {
    if (!node.reportValidity()) return;
    if (!selectedIds.size && !window.confirm(`${dismiss.textContent}? They can still be replayed.`)) return;
    whileBusy(dismiss, "Dismissing…", async () => {
      const dismissed = await result.attempt(sendDismissals);
      if (dismissed === null) return;
      reason.value = "";
      await onChanged();
      result.showSuccess(`${plural(dismissed, "event")} dismissed`, "They no longer count as failed.");
    }).then(updateButton);
  });

  node.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!selectedIds.size && !window.confirm(`${button.textContent}? Each is read from Xero again, which counts towards the call limits.`)) return;
    whileBusy(button, "Replaying…", async () => {
      const done = await result.attempt(() => call("POST", `${INTEGRATION_PATH}/webhook-events/replay`, { body: { ...selection(), reason: reason.value } }));
      if (!done) return;
      reason.value = "";
      await onChanged();
      result.showSuccess(`${plural(done.replayed, "event")} will be processed again`, "The list shows their status.");
    }).then(updateButton);
  });
  updateButton();
  return { node, updateButton };
}
