/** The card of the selected organisations: health, data age and usage of each, the most severe problem first. */

import { badge, changeDetector, element, fill, section, table } from "/console/js/dom.js";
import { bytes, count, plural, relativeTime } from "/console/js/format.js";
import { HEALTH } from "/console/js/labels.js";

const INITIAL_ROWS = 12;
const COLUMNS = [["Organisation"], ["Health"], ["Data as of"], ["Next attempt"], ["Calls today", "number"], ["Bytes this month", "number"]];

export function tenantHealth() {
  const body = element("div", null, element("p", { class: "loading" }, "Loading…"));
  const node = section("Organisations", body);
  const hasChanged = changeDetector();
  let showsAll = false;

  function update({ tenants }) {
    if (hasChanged([tenants, showsAll])) render(tenants);
  }

  function render(tenants) {
    const selected = tenants.filter((tenant) => tenant.selected).sort(bySeverity);
    if (!selected.length) return fill(body, element("p", { class: "empty" }, "None is selected yet, so nothing syncs. Choose organisations first."));
    const shown = showsAll ? selected : selected.slice(0, INITIAL_ROWS);
    const more = () => { showsAll = true; render(tenants); };
    return fill(body,
      element("p", { class: "hint" }, summarise(selected)),
      table("Health of the selected organisations", COLUMNS, shown.map(row)),
      shown.length < selected.length && element("p", null, element("button", { type: "button", onclick: more }, `Show all ${count(selected.length)}`)),
    );
  }

  return { node, update };
}

const severity = (tenant) => HEALTH[tenant.health]?.[2] ?? 0;

function bySeverity(first, second) {
  return severity(first) - severity(second) || first.name.localeCompare(second.name);
}

function summarise(selected) {
  const problems = selected.filter((tenant) => severity(tenant) < HEALTH.first_sync[2]).length;
  return problems ? `${plural(problems, "organisation")} of ${count(selected.length)} with problems; those come first.` : `${plural(selected.length, "organisation")}, none with problems.`;
}

function row(tenant) {
  const [label, tone] = HEALTH[tenant.health] ?? [tenant.health, "neutral"];
  return [
    element("strong", null, tenant.name),
    element("div", null, badge(label, tone), tenant.reason && element("p", { class: "hint" }, tenant.reason.message), firstSyncProgress(tenant.first_sync_progress)),
    relativeTime(tenant.data_as_of, "not yet"),
    relativeTime(tenant.next_attempt_at, "none scheduled"),
    element("span", null, `${count(tenant.calls_today)} of ${count(tenant.daily_cap)}`),
    bytes(tenant.bytes_this_month),
  ];
}

function firstSyncProgress(progress) {
  if (!progress) return null;
  const estimate = progress.row_estimate ? ` of about ${count(progress.row_estimate)}` : "";
  return element("p", { class: "hint" }, `${count(progress.rows_read)}${estimate} records read`);
}
