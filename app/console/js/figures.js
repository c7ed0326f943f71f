/** A customer's figures per currency, and the table of invoices. */

import { badge, h, outLink, table } from "/console/js/dom.js";
import { day, isNothing, money, plural } from "/console/js/format.js";
import { INVOICE_STATUS, NO_BASE, say, sayStatus, SOURCES } from "/console/js/words.js";

const MONTH = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" });

export function billingFigures(billing) {
  const month = MONTH.format(new Date(`${billing.month}-01T00:00:00Z`));
  const busy = billing.currencies.filter((figures) => !isQuiet(figures));
  const shown = busy.length ? busy : billing.currencies;
  const quiet = busy.length ? billing.currencies.filter(isQuiet).map((figures) => figures.currency) : [];
  return h("div", { class: "currencies" },
    shown.map((figures) => currencyBox(figures, month)),
    quiet.length > 0 && h("p", { class: "base hint" }, `Also billed in ${quiet.join(", ")} before; nothing this month and nothing open there.`),
    baseBox(billing));
}

const AMOUNTS = ["invoiced_this_month", "outstanding", "overdue", "unapplied_credit", "contracted_mrr"];

/** A currency of old invoices only would be a row of noughts. */
const isQuiet = (figures) => AMOUNTS.every((name) => isNothing(figures[name]));

function currencyBox(figures, month) {
  const overdue = figures.overdue_count ? `${plural(figures.overdue_count, "invoice")} past due` : "nothing past due";
  return h("div", { class: "figures", "data-currency": figures.currency },
    h("h3", null, figures.currency),
    h("dl", null,
      figure("Invoiced this month", "invoiced_this_month", figures, month),
      figure("Outstanding", "outstanding", figures, "open invoices, before credits"),
      figure("Overdue", "overdue", figures, overdue, isNothing(figures.overdue) ? "" : "late"),
      figure("Unapplied credit", "unapplied_credit", figures, "credit notes not used yet"),
      figure("Contracted MRR", "contracted_mrr", figures, "services active today")),
  );
}

function figure(label, name, figures, hint, tone = "") {
  return h("div", { class: `figure ${tone}` }, h("dt", null, label), h("dd", null, h("span", { class: "amount", "data-figure": name }, money(figures[name])), h("span", { class: "hint" }, hint)));
}

/** Currencies are never added up but at each invoice's own rate. */
function baseBox(billing) {
  if (billing.base) {
    const { currency, invoiced_this_month: invoiced, outstanding } = billing.base;
    return h("p", { class: "base" }, "All currencies in base currency, each invoice at its own rate: ", money(invoiced, currency), " invoiced this month, ", money(outstanding, currency), " outstanding.");
  }
  const reason = billing.base_unavailable_reason;
  return reason && reason !== "no_invoices" ? h("p", { class: "base hint" }, `No total in base currency: ${say(NO_BASE, reason)}.`) : null;
}

const COLUMNS = [["Invoice"], ["Issued"], ["Due"], ["Status"], ["Total", "number"], ["Balance", "number"], ["Source"]];

export function invoiceTable(invoices) {
  return table("Recent invoices", COLUMNS, invoices.map((invoice) => [
    h("div", null, h("strong", null, invoice.number ?? "no number"), invoice.reference && h("div", { class: "hint" }, invoice.reference)),
    day(invoice.issued_on),
    day(invoice.due_on),
    invoice.overdue ? badge("Overdue", "critical") : badge(...sayStatus(INVOICE_STATUS, invoice.status)),
    money(invoice.total, invoice.currency),
    money(invoice.balance, invoice.currency),
    source(invoice),
  ]));
}

function source(invoice) {
  const name = say(SOURCES, invoice.source);
  return h("div", { class: "source-cell" }, badge(name, "source"), invoice.vendor_url && outLink(invoice.vendor_url, `Open in ${name}`, `invoice ${invoice.number ?? ""}`));
}
