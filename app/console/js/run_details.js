/** A finished run: one line, and a table of its resources. */

import { badge, element, table } from "/console/js/dom.js";
import { bytes, count, durationText, plural, relativeTime } from "/console/js/format.js";
import { labelOf, RESOURCES, RUN_STATUS, statusLabel, TRIGGERS } from "/console/js/labels.js";

const COLUMNS = [["Organisation"], ["Resource"], ["Status"], ["Read", "number"], ["New", "number"], ["Changed", "number"], ["Skipped", "number"], ["Failed", "number"], ["Calls", "number"], ["Bytes", "number"]];

const sum = (run, name) => run.resources.reduce((total, part) => total + part[name], 0);

export function runTotals(run) {
  return `${count(sum(run, "created"))} new, ${count(sum(run, "updated"))} changed, ${count(sum(run, "unchanged"))} unchanged, ${plural(sum(run, "calls"), "call")}, ${bytes(sum(run, "bytes"))}`;
}

export function describeRun(run, nameOf, isOpen) {
  const duration = run.finished_at && element("span", { class: "hint" }, durationText(run.started_at, run.finished_at));
  return element("details", { class: "run", open: isOpen, "data-run": run.id },
    element("summary", null,
      badge(...statusLabel(RUN_STATUS, run.status)),
      element("span", { class: "run-title" }, `${labelOf(TRIGGERS, run.trigger)}, ${tenantLabel(run, nameOf)}`),
      element("span", { class: "hint" }, runTotals(run)),
      element("span", { class: "run-time" }, relativeTime(run.started_at), " ", duration)),
    run.error && element("p", null, run.error),
    table("Resources of the run", COLUMNS, run.resources.map((part) => row(part, nameOf))),
  );
}

function tenantLabel(run, nameOf) {
  if (run.tenant_id) return nameOf(run.tenant_id);
  return plural(new Set(run.resources.map((part) => part.tenant_id)).size, "organisation");
}

function row(part, nameOf) {
  const status = element("div", null, badge(...statusLabel(RUN_STATUS, part.status)), part.error && element("p", { class: "hint" }, part.error));
  const figures = [part.fetched, part.created, part.updated, part.skipped, part.failed, part.calls].map(count);
  return [nameOf(part.tenant_id), labelOf(RESOURCES, part.resource), status, ...figures, bytes(part.bytes)];
}
