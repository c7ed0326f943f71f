/** A customer's billing figures per currency, and the table of recent invoices. */

import { badge, element, externalLink, table } from "/console/js/dom.js";
import { day, isZero, money, plural } from "/console/js/format.js";
import { BASE_UNAVAILABLE_REASONS, INVOICE_STATUS, labelOf, SOURCES, statusLabel } from "/console/js/labels.js";

const MONTH = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" });

export function billingFigures(billing) {
  const month = MONTH.format(new Date(`${billing.month}-01T00:00:00Z`));
  const active = billing.currencies.filter((figures) => !isInactive(figures));
  const shown = active.length ? active : billing.currencies;
  const inactive = active.length ? billing.currencies.filter(isInactive).map((figures) => figures.currency) : [];
  return element("div", { class: "currencies" },
    shown.map((figures) => currencyBox(figures, month)),
    inactive.length > 0 && element("p", { class: "base hint" }, `There are older invoices in ${inactive.join(", ")}, but nothing invoiced this month and nothing outstanding.`),
    baseBox(billing));
}

const AMOUNTS = ["invoiced_this_month", "outstanding", "overdue", "unapplied_credit", "contracted_mrr"];

/** Whether all amounts are zero, as in a currency in which only old invoices exist. */
const isInactive = (figures) => AMOUNTS.every((name) => isZero(figures[name]));

function currencyBox(figures, month) {
  const overdue = figures.overdue_count ? `${plural(figures.overdue_count, "invoice")} past due` : "nothing past due";
  return element("div", { class: "figures", "data-currency": figures.currency },
    element("h3", null, figures.currency),
    element("dl", null,
      figure("Invoiced this month", "invoiced_this_month", figures, month),
      figure("Outstanding", "outstanding", figures, "open invoices, before credits"),
      figure("Overdue", "overdue", figures, overdue, isZero(figures.overdue) ? "" : "overdue"),
      figure("Unapplied credit", "unapplied_credit", figures, "credit notes not used yet"),
      figure("Contracted MRR", "contracted_mrr", figures, "services active today")),
  );
}

function figure(label, name, figures, hint, tone = "") {
  return element("div", { class: `figure ${tone}` }, element("dt", null, label), element("dd", null, element("span", { class: "amount", "data-figure": name }, money(figures[name])), element("span", { class: "hint" }, hint)));
}

/** The total over all currencies, which uses each invoice's own exchange rate. */
function baseBox(billing) {
  if (billing.base) {
    const { currency, invoiced_this_month: invoiced, outstanding } = billing.base;
    return element("p", { class: "base" }, "All currencies in base currency, each invoice at its own rate: ", money(invoiced, currency), " invoiced this month, ", money(outstanding, currency), " outstanding.");
  }
  const reason = billing.base_unavailable_reason;
  return reason && reason !== "no_invoices" ? element("p", { class: "base hint" }, `No total in base currency: ${labelOf(BASE_UNAVAILABLE_REASONS, reason)}.`) : null;
}

const COLUMNS = [["Invoice"], ["Issued"], ["Due"], ["Status"], ["Total", "number"], ["Balance", "number"], ["Source"]];

export function invoiceTable(invoices) {
  return table("Recent invoices", COLUMNS, invoices.map((invoice) => [
    element("div", null, element("strong", null, invoice.number ?? "no number"), invoice.reference && element("div", { class: "hint" }, invoice.reference)),
    day(invoice.issued_on),
    day(invoice.due_on),
    invoice.overdue ? badge("Overdue", "critical") : badge(...statusLabel(INVOICE_STATUS, invoice.status)),
    money(invoice.total, invoice.currency),
    money(invoice.balance, invoice.currency),
    sourceCell(invoice),
  ]));
}

function sourceCell(invoice) {
  const name = labelOf(SOURCES, invoice.source);
  return element("div", { class: "source-cell" }, badge(name, "source"), invoice.vendor_url && externalLink(invoice.vendor_url, `Open in ${name}`, `invoice ${invoice.number ?? ""}`));
}
