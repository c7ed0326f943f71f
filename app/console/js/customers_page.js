/** The page of all customers: searchable by name, with the outstanding amounts of each. */

import { call, getAll, INTEGRATION_PATH } from "/console/js/api.js";
import { badge, element, field, fill, table } from "/console/js/dom.js";
import { isZero, money } from "/console/js/format.js";
import { labelOf, SOURCES } from "/console/js/labels.js";
import { pagedList } from "/console/js/paged_list.js";

const TYPING_DELAY_MS = 250;
const COLUMNS = [["Customer"], ["Billed through"], ["Outstanding", "number"], ["Overdue", "number"]];

export function showCustomers(page) {
  const search = element("input", { type: "search", autocomplete: "off" });
  const linked = element("select", null, element("option", { value: "" }, "All customers"), element("option", { value: "true" }, "With a billing contact"), element("option", { value: "false" }, "Without a billing contact"));
  const amountsByCustomer = new Map();
  let names = new Map();
  let typingTimer;

  // The list is usable without the organisations' names, so an error while reading them is ignored.
  const namesLoaded = getAll(`${INTEGRATION_PATH}/tenants`).then((tenants) => { names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name])); }, () => undefined);
  const list = pagedList("/api/customers", {
    empty: (query) => (query.search || query.linked ? "No customer matches." : "No customers yet. They arrive with the first sync of Xero, or from the PSA."),
    prepare: (items) => Promise.all([namesLoaded, readAmounts(items, amountsByCustomer)]),
    render: (items) => table("Customers", COLUMNS, items.map((customer) => row(customer, amountsByCustomer.get(customer.id), names))),
  });
  const reload = () => list.show({ search: search.value.trim(), linked: linked.value });

  search.addEventListener("input", () => {
    clearTimeout(typingTimer);
    typingTimer = setTimeout(reload, TYPING_DELAY_MS);
  });
  linked.addEventListener("change", reload);
  const form = element("form", { class: "filters", role: "search", onsubmit: (event) => { event.preventDefault(); reload(); } }, field("Find a customer", search), field("Show", linked));
  fill(page, element("h1", { tabindex: "-1" }, "Customers"), form, element("div", { class: "panel" }, list.node));
  reload();
  return () => clearTimeout(typingTimer);
}

async function readAmounts(items, amountsByCustomer) {
  if (!items.length) return;
  const { items: summaries } = await call("POST", "/api/billing/summaries", { body: { customer_ids: items.map((customer) => customer.id) } });
  for (const { customer_id: id, currencies } of summaries) amountsByCustomer.set(id, currencies);
}

function row(customer, currencies = [], names) {
  return [
    element("a", { href: `#/customers/${customer.id}`, class: "strong" }, customer.name),
    customer.links.length ? customer.links.map((link) => linkedSource(link, names)) : element("span", { class: "hint" }, "no billing contact"),
    amounts(currencies, "outstanding"),
    amounts(currencies, "overdue"),
  ];
}

export function linkedSource(link, names) {
  return element("div", null, badge(labelOf(SOURCES, link.source), "source"), " ", names.get(link.tenant_id) ?? "");
}

function amounts(currencies, name) {
  const nonZero = currencies.filter((each) => !isZero(each[name]));
  return nonZero.length ? nonZero.map((each) => element("div", null, money(each[name], each.currency))) : element("span", { class: "hint" }, "none");
}
