/** Choosing the organisations to sync, out of a few or of hundreds. */

import { all, call, get, XERO } from "/console/js/api.js";
import { announce, badge, busy, field, fill, h, section } from "/console/js/dom.js";
import { count, plural } from "/console/js/format.js";
import { outlet } from "/console/js/notices.js";
import { HEALTH } from "/console/js/words.js";

const PAGE = 50;
const TYPING_MS = 250;

export function pickerPart({ session, refresh }) {
  const out = outlet();
  const search = h("input", { type: "search", autocomplete: "off" });
  const list = h("ul", { class: "picks" });
  const more = h("button", { type: "button", hidden: true }, "Show more");
  const selectAll = h("button", { type: "button" }, "Select all");
  const selectNone = h("button", { type: "button" }, "Select none");
  const save = h("button", { class: "primary" }, "Save selection");
  const tally = h("span", { class: "hint" });
  const form = h("form", null,
    field("Find an organisation", search),
    h("p", { class: "actions" }, selectAll, selectNone),
    h("fieldset", null, h("legend", { class: "unseen" }, "Organisations to sync"), list),
    h("p", null, more),
    h("p", { class: "actions" }, save, tally),
    h("p", { class: "hint" }, "What you newly select starts to sync at once. What you deselect stops syncing; its figures stay as they are."),
    out.node,
  );
  const node = section("Choose organisations", session.isAdmin ? form : h("p", { class: "hint" }, "An administrator chooses which organisations are synced."));

  let saved = null;
  let chosen = new Set();
  let total = 0;
  let shown = [];
  let cursor = null;
  let asking = 0;
  let typing;

  const isChanged = () => saved !== null && (saved.size !== chosen.size || [...chosen].some((id) => !saved.has(id)));

  async function ask({ next = null } = {}) {
    asking += 1;
    const mine = asking;
    const page = await get(`${XERO}/tenants`, { search: search.value.trim(), limit: PAGE, cursor: next });
    // An answer to what was typed before is of no use any more.
    if (mine !== asking) return;
    shown = next ? [...shown, ...page.items] : page.items;
    cursor = page.next_cursor;
    paint();
  }

  function paint() {
    more.hidden = cursor === null;
    fill(list, shown.length ? shown.map(pick) : h("li", { class: "empty" }, search.value ? "No organisation of that name." : "Xero gave access to none yet."));
    tell();
  }

  function tell() {
    tally.textContent = `${count(chosen.size)} of ${count(total)} selected${isChanged() ? ", not saved yet" : ""}`;
    save.disabled = !isChanged();
  }

  function pick(tenant) {
    const isGone = tenant.health === "removed";
    const box = h("input", { type: "checkbox", id: `pick-${tenant.tenant_id}`, checked: chosen.has(tenant.tenant_id), disabled: isGone && !chosen.has(tenant.tenant_id) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(tenant.tenant_id);
      else chosen.delete(tenant.tenant_id);
      tell();
    });
    const [words, tone] = HEALTH[tenant.health] ?? [tenant.health, "neutral"];
    return h("li", { class: "choice" }, box, h("label", { for: box.id }, tenant.name), tenant.health !== "not_selected" && badge(words, tone));
  }

  /** Everything that the present search finds, on pages not shown too. */
  selectAll.addEventListener("click", () => busy(selectAll, "Selecting…", () => out.attempt(async () => {
    const found = await all(`${XERO}/tenants`, { search: search.value.trim() });
    for (const tenant of found) if (tenant.health !== "removed") chosen.add(tenant.tenant_id);
    paint();
    announce(tally.textContent);
  })));
  selectNone.addEventListener("click", () => {
    chosen.clear();
    paint();
    announce(tally.textContent);
  });
  more.addEventListener("click", () => busy(more, "Loading…", () => out.attempt(() => ask({ next: cursor }))));
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => out.attempt(() => ask()), TYPING_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(save, "Saving…", keep).then(tell);
  });

  async function keep() {
    const wanted = [...chosen];
    if (!(await out.attempt(() => call("PUT", `${XERO}/tenants`, { body: { tenant_ids: wanted } })))) return;
    saved = new Set(wanted);
    await Promise.all([refresh(), ask()]);
    out.good("Selection saved", `${plural(wanted.length, "organisation")} will be kept up to date.`);
  }

  function update({ tenants }) {
    if (!session.isAdmin) return;
    const ids = tenants.filter((tenant) => tenant.selected).map((tenant) => tenant.tenant_id);
    const isNew = total !== tenants.length || saved === null;
    total = tenants.length;
    // A choice somebody is making is not painted over.
    if (!isChanged()) {
      const before = saved === null ? "" : [...saved].sort().join();
      saved = new Set(ids);
      chosen = new Set(ids);
      if (isNew || before !== [...ids].sort().join()) out.attempt(() => ask());
    }
    tell();
  }

  return { node, update, leave: () => clearTimeout(typing) };
}
