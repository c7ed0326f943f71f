/** The page of one customer: billing summary, recent invoices and timeline. */

import { get, getAll, INTEGRATION_PATH } from "/console/js/api.js";
import { billingFigures, invoiceTable } from "/console/js/billing_figures.js";
import { linkedSource } from "/console/js/customers_page.js";
import { badge, element, fill, section } from "/console/js/dom.js";
import { day, instant, money, relativeTime } from "/console/js/format.js";
import { labelOf, SOURCES } from "/console/js/labels.js";
import { notice, problemNotice } from "/console/js/notices.js";
import { timelineSection } from "/console/js/timeline.js";

export function showCustomer(page, session, id) {
  const heading = element("h1", { tabindex: "-1" }, "Customer");
  const links = element("div", { class: "customer-links" });
  const body = element("div", { class: "cards" }, element("p", { class: "loading" }, "Loading…"));
  let isClosed = false;
  fill(page, element("p", null, element("a", { href: "#/customers" }, "← All customers")), heading, links, body);

  async function load() {
    try {
      const path = `/api/customers/${id}`;
      const [customer, billing, status, tenants] = await Promise.all([get(path), get(`${path}/billing`), get(INTEGRATION_PATH), getAll(`${INTEGRATION_PATH}/tenants`)]);
      if (isClosed) return;
      heading.textContent = customer.name;
      document.title = `${customer.name} · Xero in Vectis`;
      const names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name]));
      fill(links, customer.links.map((link) => linkedSource(link, names)), customer.psa_external_id && element("p", { class: "hint" }, `PSA id ${customer.psa_external_id}`));
      fill(body, billingSection(billing, status, customer, session), timelineSection(id));
    } catch (problem) {
      if (!isClosed) fill(body, problemNotice(problem, problem.status === 404 ? null : load));
    }
  }

  load();
  return () => { isClosed = true; };
}

function billingSection(billing, status, customer, session) {
  const node = section("Billing", dataAge(billing, status));
  if (!billing.has_data) {
    node.append(emptyReason(billing, status, customer, session));
    return node;
  }
  node.append(billingFigures(billing), element("h3", null, "Recent invoices"));
  node.append(billing.recent_invoices.length ? invoiceTable(billing.recent_invoices) : element("p", { class: "empty" }, "No invoices; the figures come from credit notes or services."));
  node.append(element("h3", null, "Last payment"), lastPayment(billing.last_payment));
  return node;
}

// Data are out of date when they are older than this number of scheduled runs.
const INTERVALS_UNTIL_OLD = 3;

function dataAge(billing, status) {
  const unsynced = unsyncedNotice(billing.source_details);
  const asOf = billing.data_as_of;
  if (!asOf) return unsynced;
  const text = element("p", { class: "hint" }, "As of ", instant(asOf), " (", relativeTime(asOf), ")");
  return [text, unsynced ?? outOfDateNotice(billing, status)];
}

function outOfDateNotice(billing, status) {
  const isOld = Date.now() - new Date(billing.data_as_of) > INTERVALS_UNTIL_OLD * status.sync.interval_seconds * 1000;
  const reason = status.state === "connected" ? "The sync is late; the set-up page shows why." : "Xero is not connected, so the figures are not updated.";
  return isOld || !billing.connected ? notice("warning", "These figures may be out of date", reason) : null;
}

/** Name the organisations that were deselected, removed or disconnected: their invoices still count. */
function unsyncedNotice(sources) {
  const unsynced = sources.filter((source) => !source.is_synced);
  if (!unsynced.length) return null;
  const items = unsynced.map((source) => element("li", null, source.name ?? source.tenant_id, ", as of ", instant(source.data_as_of, "its unfinished first sync")));
  const meaning = "Their invoices still count, as they were then; what was paid or issued since is missing. To bring them up to date, connect Xero and select them on the set-up page.";
  return notice("warning", "These figures may be out of date: organisations that are no longer synced", meaning, element("ul", null, items));
}

/** Say why a customer has no data: not connected, not linked, not synced yet, or nothing billed. */
function emptyReason(billing, status, customer, session) {
  const setUp = element("p", null, element("a", { href: "#/setup" }, session.isAdmin ? "Go to the set-up" : "See the set-up"));
  if (!billing.connected) return notice("warning", "Nothing to show: no billing system is connected", "Invoices appear once Xero is connected and synced.", setUp);
  if (!customer.links.length) return notice("info", "Not linked to a billing contact", "No contact in Xero was matched to this customer, so there is nothing to show. This is not an error.");
  if (!billing.data_as_of) return notice("info", "The first sync is not finished", "This customer's history has not been read completely yet. Records appear here as they are read.", setUp);
  return notice("info", "Nothing billed yet", "Xero is connected and synced; this customer has no invoices, credit notes or services there.");
}

function lastPayment(payment) {
  if (!payment) return element("p", { class: "empty" }, "No payment yet.");
  return element("p", null, money(payment.amount, payment.currency), " on ", day(payment.paid_on), payment.reference && `, reference ${payment.reference}`, " ", badge(labelOf(SOURCES, payment.source), "source"));
}
