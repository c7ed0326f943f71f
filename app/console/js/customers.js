/** Customers: found by name, each with what is outstanding. */

import { all, call, XERO } from "/console/js/api.js";
import { badge, field, fill, h, table } from "/console/js/dom.js";
import { isNothing, money } from "/console/js/format.js";
import { growingList } from "/console/js/lists.js";
import { say, SOURCES } from "/console/js/words.js";

const TYPING_MS = 250;
const COLUMNS = [["Customer"], ["Billed through"], ["Outstanding", "number"], ["Overdue", "number"]];

export function showCustomers(page) {
  const search = h("input", { type: "search", autocomplete: "off" });
  const linked = h("select", null, h("option", { value: "" }, "All customers"), h("option", { value: "true" }, "With a billing contact"), h("option", { value: "false" }, "Without a billing contact"));
  const figures = new Map();
  let names = new Map();
  let typing;

  // The names are an extra: without them the list still tells the vendor.
  const naming = all(`${XERO}/tenants`).then((tenants) => { names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name])); }, () => undefined);
  const list = growingList("/api/customers", {
    empty: (query) => (query.search || query.linked ? "No customer fits." : "No customers yet. They arrive with the first sync of Xero, or from the PSA."),
    prepare: (items) => Promise.all([naming, readFigures(items, figures)]),
    draw: (items) => table("Customers", COLUMNS, items.map((customer) => row(customer, figures.get(customer.id), names))),
  });
  const show = () => list.show({ search: search.value.trim(), linked: linked.value });

  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(show, TYPING_MS);
  });
  linked.addEventListener("change", show);
  const form = h("form", { class: "filters", role: "search", onsubmit: (event) => { event.preventDefault(); show(); } }, field("Find a customer", search), field("Show", linked));
  fill(page, h("h1", { tabindex: "-1" }, "Customers"), form, h("div", { class: "panel" }, list.node));
  show();
  return () => clearTimeout(typing);
}

async function readFigures(items, figures) {
  if (!items.length) return;
  const { items: found } = await call("POST", "/api/billing/summaries", { body: { customer_ids: items.map((customer) => customer.id) } });
  for (const { customer_id: id, currencies } of found) figures.set(id, currencies);
}

function row(customer, currencies = [], names) {
  return [
    h("a", { href: `#/customers/${customer.id}`, class: "strong" }, customer.name),
    customer.links.length ? customer.links.map((link) => through(link, names)) : h("span", { class: "hint" }, "no billing contact"),
    amounts(currencies, "outstanding"),
    amounts(currencies, "overdue"),
  ];
}

export function through(link, names) {
  return h("div", null, badge(say(SOURCES, link.source), "source"), " ", names.get(link.tenant_id) ?? "");
}

function amounts(currencies, name) {
  const owed = currencies.filter((each) => !isNothing(each[name]));
  return owed.length ? owed.map((each) => h("div", null, money(each[name], each.currency))) : h("span", { class: "hint" }, "none");
}
