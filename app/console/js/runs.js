/** A run that is over, in one line and in full. */

import { badge, h, table } from "/console/js/dom.js";
import { ago, bytes, count, lasted, plural } from "/console/js/format.js";
import { RESOURCES, RUN_STATUS, say, sayStatus, TRIGGERS } from "/console/js/words.js";

const COLUMNS = [["Organisation"], ["What"], ["Status"], ["Read", "number"], ["New", "number"], ["Changed", "number"], ["Skipped", "number"], ["Failed", "number"], ["Calls", "number"], ["Bytes", "number"]];

const sum = (run, name) => run.resources.reduce((total, part) => total + part[name], 0);

export function figuresOf(run) {
  return `${count(sum(run, "created"))} new, ${count(sum(run, "updated"))} changed, ${count(sum(run, "unchanged"))} unchanged, ${plural(sum(run, "calls"), "call")}, ${bytes(sum(run, "bytes"))}`;
}

export function describeRun(run, nameOf, isOpen) {
  const took = run.finished_at && h("span", { class: "hint" }, lasted(run.started_at, run.finished_at));
  return h("details", { class: "run", open: isOpen, "data-run": run.id },
    h("summary", null,
      badge(...sayStatus(RUN_STATUS, run.status)),
      h("span", { class: "run-what" }, `${say(TRIGGERS, run.trigger)}, ${whose(run, nameOf)}`),
      h("span", { class: "hint" }, figuresOf(run)),
      h("span", { class: "run-when" }, ago(run.started_at), " ", took)),
    run.error && h("p", null, run.error),
    table("What the run did", COLUMNS, run.resources.map((part) => row(part, nameOf))),
  );
}

function whose(run, nameOf) {
  if (run.tenant_id) return nameOf(run.tenant_id);
  return plural(new Set(run.resources.map((part) => part.tenant_id)).size, "organisation");
}

function row(part, nameOf) {
  const status = h("div", null, badge(...sayStatus(RUN_STATUS, part.status)), part.error && h("p", { class: "hint" }, part.error));
  const figures = [part.fetched, part.created, part.updated, part.skipped, part.failed, part.calls].map(count);
  return [nameOf(part.tenant_id), say(RESOURCES, part.resource), status, ...figures, bytes(part.bytes)];
}
