/** How each chosen organisation is doing, the worst first. */

import { badge, changes, fill, h, section, table } from "/console/js/dom.js";
import { ago, bytes, count, plural } from "/console/js/format.js";
import { HEALTH } from "/console/js/words.js";

const FIRST_SHOWN = 12;
const COLUMNS = [["Organisation"], ["Health"], ["Figures as of"], ["Next try"], ["Calls today", "number"], ["Bytes this month", "number"]];

export function healthPart() {
  const body = h("div", null, h("p", { class: "loading" }, "Loading…"));
  const node = section("Organisations", body);
  const differs = changes();
  let showsAll = false;

  function update({ tenants }) {
    if (differs([tenants, showsAll])) paint(tenants);
  }

  function paint(tenants) {
    const chosen = tenants.filter((tenant) => tenant.selected).sort(worstFirst);
    if (!chosen.length) return fill(body, h("p", { class: "empty" }, "None is selected yet, so nothing syncs. Choose organisations first."));
    const shown = showsAll ? chosen : chosen.slice(0, FIRST_SHOWN);
    const more = () => { showsAll = true; paint(tenants); };
    return fill(body,
      h("p", { class: "hint" }, summarise(chosen)),
      table("Health of the selected organisations", COLUMNS, shown.map(row)),
      shown.length < chosen.length && h("p", null, h("button", { type: "button", onclick: more }, `Show all ${count(chosen.length)}`)),
    );
  }

  return { node, update };
}

const rank = (tenant) => HEALTH[tenant.health]?.[2] ?? 0;

function worstFirst(one, other) {
  return rank(one) - rank(other) || one.name.localeCompare(other.name);
}

function summarise(chosen) {
  const troubled = chosen.filter((tenant) => rank(tenant) < HEALTH.first_sync[2]).length;
  return troubled ? `${plural(troubled, "organisation")} of ${count(chosen.length)} not up to date; those come first.` : `${plural(chosen.length, "organisation")}, none in trouble.`;
}

function row(tenant) {
  const [words, tone] = HEALTH[tenant.health] ?? [tenant.health, "neutral"];
  return [
    h("strong", null, tenant.name),
    h("div", null, badge(words, tone), tenant.reason && h("p", { class: "hint" }, tenant.reason.message), firstSync(tenant.first_sync_progress)),
    ago(tenant.data_as_of, "not yet"),
    ago(tenant.next_attempt_at, "none planned"),
    h("span", null, `${count(tenant.calls_today)} of ${count(tenant.daily_cap)}`),
    bytes(tenant.bytes_this_month),
  ];
}

function firstSync(progress) {
  if (!progress) return null;
  const of = progress.row_estimate ? ` of about ${count(progress.row_estimate)}` : "";
  return h("p", { class: "hint" }, `${count(progress.rows_read)}${of} records read`);
}
