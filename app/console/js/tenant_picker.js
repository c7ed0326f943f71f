/** The card that selects the organisations to sync; searchable and paged, as there may be hundreds. */

import { call, get, getAll, INTEGRATION_PATH } from "/console/js/api.js";
import { announce, badge, element, field, fill, section, whileBusy } from "/console/js/dom.js";
import { count, plural } from "/console/js/format.js";
import { HEALTH } from "/console/js/labels.js";
import { resultArea } from "/console/js/notices.js";

const PAGE_SIZE = 50;
const TYPING_DELAY_MS = 250;

export function tenantPicker({ session, refresh }) {
  const result = resultArea();
  const search = element("input", { type: "search", autocomplete: "off" });
  const list = element("ul", { class: "tenant-list" });
  const more = element("button", { type: "button", hidden: true }, "Show more");
  const selectAll = element("button", { type: "button" }, "Select all");
  const selectNone = element("button", { type: "button" }, "Select none");
  const save = element("button", { class: "primary" }, "Save selection");
  const summary = element("span", { class: "hint" });
  const form = element("form", null,
    field("Find an organisation", search),
    element("p", { class: "actions" }, selectAll, selectNone),
    element("fieldset", null, element("legend", { class: "visually-hidden" }, "Organisations to sync"), list),
    element("p", null, more),
    element("p", { class: "actions" }, save, summary),
    element("p", { class: "hint" }, "A newly selected organisation is synced at once. A deselected one is no longer synced; its data stay as they are."),
    result.node,
  );
  const node = section("Choose organisations", session.isAdmin ? form : element("p", { class: "hint" }, "An administrator chooses which organisations are synced."));

  let savedSelection = null;
  let selected = new Set();
  let total = 0;
  let tenantsShown = [];
  let cursor = null;
  let lastRequest = 0;
  let typingTimer;

  const isChanged = () => savedSelection !== null && (savedSelection.size !== selected.size || [...selected].some((id) => !savedSelection.has(id)));

  async function loadPage({ next = null } = {}) {
    lastRequest += 1;
    const request = lastRequest;
    const page = await get(`${INTEGRATION_PATH}/tenants`, { search: search.value.trim(), limit: PAGE_SIZE, cursor: next });
    // A response to an earlier search text is out of date.
    if (request !== lastRequest) return;
    tenantsShown = next ? [...tenantsShown, ...page.items] : page.items;
    cursor = page.next_cursor;
    renderList();
  }

  function renderList() {
    more.hidden = cursor === null;
    fill(list, tenantsShown.length ? tenantsShown.map(renderTenant) : element("li", { class: "empty" }, search.value ? "No organisation of that name." : "Xero has not given access to any organisation yet."));
    updateSummary();
  }

  function updateSummary() {
    summary.textContent = `${count(selected.size)} of ${count(total)} selected${isChanged() ? ", not saved yet" : ""}`;
    save.disabled = !isChanged();
  }

  function renderTenant(tenant) {
    const isRemoved = tenant.health === "removed";
    const box = element("input", { type: "checkbox", id: `tenant-${tenant.tenant_id}`, checked: selected.has(tenant.tenant_id), disabled: isRemoved && !selected.has(tenant.tenant_id) });
    box.addEventListener("change", () => {
      if (box.checked) selected.add(tenant.tenant_id);
      else selected.delete(tenant.tenant_id);
      updateSummary();
    });
    const [label, tone] = HEALTH[tenant.health] ?? [tenant.health, "neutral"];
    return element("li", { class: "choice" }, box, element("label", { for: box.id }, tenant.name), tenant.health !== "not_selected" && badge(label, tone));
  }

  // Selects every organisation that matches the search, also those on pages that are not shown.
  selectAll.addEventListener("click", () => whileBusy(selectAll, "Selecting…", () => result.attempt(async () => {
    const matches = await getAll(`${INTEGRATION_PATH}/tenants`, { search: search.value.trim() });
    for (const tenant of matches) if (tenant.health !== "removed") selected.add(tenant.tenant_id);
    renderList();
    announce(summary.textContent);
  })));
  selectNone.addEventListener("click", () => {
    selected.clear();
    renderList();
    announce(summary.textContent);
  });
  more.addEventListener("click", () => whileBusy(more, "Loading…", () => result.attempt(() => loadPage({ next: cursor }))));
  search.addEventListener("input", () => {
    clearTimeout(typingTimer);
    typingTimer = setTimeout(() => result.attempt(() => loadPage()), TYPING_DELAY_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    whileBusy(save, "Saving…", saveSelection).then(updateSummary);
  });

  async function saveSelection() {
    const tenantIds = [...selected];
    if (!(await result.attempt(() => call("PUT", `${INTEGRATION_PATH}/tenants`, { body: { tenant_ids: tenantIds } })))) return;
    savedSelection = new Set(tenantIds);
    await Promise.all([refresh(), loadPage()]);
    result.showSuccess("Selection saved", `${plural(tenantIds.length, "organisation")} will be kept up to date.`);
  }

  function update({ tenants }) {
    if (!session.isAdmin) return;
    const ids = tenants.filter((tenant) => tenant.selected).map((tenant) => tenant.tenant_id);
    const isNew = total !== tenants.length || savedSelection === null;
    total = tenants.length;
    // A selection that has not been saved must not be overwritten.
    if (!isChanged()) {
      const before = savedSelection === null ? "" : [...savedSelection].sort().join();
      savedSelection = new Set(ids);
      selected = new Set(ids);
      if (isNew || before !== [...ids].sort().join()) result.attempt(() => loadPage());
    }
    updateSummary();
  }

  return { node, update, close: () => clearTimeout(typingTimer) };
}
