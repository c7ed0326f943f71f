/** One customer: what is invoiced and owed, how fresh that is, and what happened. */

import { all, get, XERO } from "/console/js/api.js";
import { badge, fill, h, section } from "/console/js/dom.js";
import { ago, day, instant, money } from "/console/js/format.js";
import { billingFigures, invoiceTable } from "/console/js/figures.js";
import { notice, problemNotice } from "/console/js/notices.js";
import { timelineSection } from "/console/js/timeline.js";
import { through } from "/console/js/customers.js";
import { say, SOURCES } from "/console/js/words.js";

export function showCustomer(page, session, id) {
  const heading = h("h1", { tabindex: "-1" }, "Customer");
  const about = h("div", { class: "about" });
  const body = h("div", { class: "parts" }, h("p", { class: "loading" }, "Loading…"));
  let isOver = false;
  fill(page, h("p", null, h("a", { href: "#/customers" }, "← All customers")), heading, about, body);

  async function load() {
    try {
      const path = `/api/customers/${id}`;
      const [customer, billing, card, tenants] = await Promise.all([get(path), get(`${path}/billing`), get(XERO), all(`${XERO}/tenants`)]);
      if (isOver) return;
      heading.textContent = customer.name;
      document.title = `${customer.name} · Xero in Vectis`;
      const names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name]));
      fill(about, customer.links.map((link) => through(link, names)), customer.psa_external_id && h("p", { class: "hint" }, `PSA id ${customer.psa_external_id}`));
      fill(body, billingSection(billing, card, customer, session), timelineSection(id));
    } catch (problem) {
      if (!isOver) fill(body, problemNotice(problem, problem.status === 404 ? null : load));
    }
  }

  load();
  return () => { isOver = true; };
}

function billingSection(billing, card, customer, session) {
  const node = section("Billing", freshness(billing, card));
  if (!billing.has_data) {
    node.append(whyEmpty(billing, card, customer, session));
    return node;
  }
  node.append(billingFigures(billing), h("h3", null, "Recent invoices"));
  node.append(billing.recent_invoices.length ? invoiceTable(billing.recent_invoices) : h("p", { class: "empty" }, "No invoices; the figures come from credit notes or services."));
  node.append(h("h3", null, "Last payment"), lastPayment(billing.last_payment));
  return node;
}

// Two ticks may pass before figures count as old; webhooks make most of them younger.
const TICKS_UNTIL_OLD = 3;

function freshness(billing, card) {
  const left = notSynced(billing.source_details);
  const asOf = billing.data_as_of;
  if (!asOf) return left;
  const text = h("p", { class: "hint fresh" }, "As of ", instant(asOf), " (", ago(asOf), ")");
  return [text, left ?? outOfDate(billing, card)];
}

function outOfDate(billing, card) {
  const isOld = Date.now() - new Date(billing.data_as_of) > TICKS_UNTIL_OLD * card.sync.interval_seconds * 1000;
  const state = card.state === "connected" ? "The sync is behind; the set-up page says why." : "Xero is not connected at present, so they do not change until it is.";
  return isOld || !billing.connected ? notice("warning", "These figures may be out of date", state) : null;
}

/** Organisations that were deselected, removed or disconnected: their invoices still count. */
function notSynced(sources) {
  const left = sources.filter((source) => !source.is_synced);
  if (!left.length) return null;
  const each = left.map((source) => h("li", null, source.name ?? source.tenant_id, ", as of ", instant(source.data_as_of, "its unfinished first sync")));
  const meaning = "Their invoices still count, as they were then; what was paid or issued since is missing. To bring them up to date, connect Xero and pick them on the set-up page.";
  return notice("warning", "These figures may be out of date: organisations that are no longer synced", meaning, h("ul", null, each));
}

/** Empty, not there yet and broken are different things. */
function whyEmpty(billing, card, customer, session) {
  const setUp = h("p", null, h("a", { href: "#/setup" }, session.isAdmin ? "Go to the set-up" : "See the set-up"));
  if (!billing.connected) return notice("warning", "Nothing to show: no billing system is connected", "Invoices appear once Xero is connected and synced.", setUp);
  if (!customer.links.length) return notice("info", "Not linked to a billing contact", "No contact in Xero was matched to this customer, so there is nothing to show. That is no error.");
  if (!billing.data_as_of) return notice("info", "The first sync is not finished", "This customer's history is on its way; what has arrived shows as it comes.", setUp);
  return notice("info", "Nothing billed yet", "Xero is connected and synced; this customer has no invoices, credit notes or services there.");
}

function lastPayment(payment) {
  if (!payment) return h("p", { class: "empty" }, "No payment yet.");
  return h("p", null, money(payment.amount, payment.currency), " on ", day(payment.paid_on), payment.reference && `, reference ${payment.reference}`, " ", badge(say(SOURCES, payment.source), "source"));
}
