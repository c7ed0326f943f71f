/** The progress of a running run: one bar for the whole run, and a table by organisation and resource. */

import { badge, element, fill, table } from "/console/js/dom.js";
import { count, plural } from "/console/js/format.js";
import { RESOURCES, RUN_STATUS, statusLabel } from "/console/js/labels.js";

const FINISHED_STATUSES = new Set(["succeeded", "partial", "paused", "failed"]);
const COLUMNS = [["Organisation"], ...Object.values(RESOURCES).map((name) => [name, "number"])];

export function progressView(nameOf) {
  const bar = element("progress", { max: "1", "aria-label": "Sync progress" });
  const summary = element("p", { class: "progress-summary" });
  const rows = element("div", null);
  const node = element("div", { class: "progress" }, bar, summary, element("details", { open: true }, element("summary", null, "By organisation"), rows));
  const cells = new Map();

  const key = (part) => `${part.tenant_id} ${part.resource}`;

  function addRun(run) {
    for (const part of run.resources) {
      const before = cells.get(key(part)) ?? { read: 0, estimate: null, isFinished: false };
      cells.set(key(part), { ...before, ...part, read: Math.max(before.read, part.fetched), isFinished: before.isFinished || FINISHED_STATUSES.has(part.status) });
    }
    render();
  }

  function addPage(event) {
    const before = cells.get(key(event)) ?? { tenant_id: event.tenant_id, resource: event.resource, status: "running" };
    const status = event.is_complete ? "succeeded" : "running";
    cells.set(key(event), { ...before, status, read: event.rows_read, estimate: event.row_estimate, isFinished: event.is_complete });
    render();
  }

  function render() {
    const all = [...cells.values()];
    const finished = all.filter((cell) => cell.isFinished).length;
    const read = all.reduce((sum, cell) => sum + (cell.read ?? 0), 0);
    bar.max = Math.max(all.length, 1);
    bar.value = all.reduce((sum, cell) => sum + finishedShare(cell), 0);
    summary.textContent = `${count(finished)} of ${plural(all.length, "resource")} finished, ${plural(read, "record")} read`;
    const tenants = [...new Set(all.map((cell) => cell.tenant_id))].sort((first, second) => nameOf(first).localeCompare(nameOf(second)));
    fill(rows, table("Progress by organisation", COLUMNS, tenants.map((id) => [nameOf(id), ...Object.keys(RESOURCES).map((resource) => cellText(cells.get(`${id} ${resource}`)))])));
  }

  return { node, addRun, addPage };
}

function finishedShare(cell) {
  if (cell.isFinished) return 1;
  return cell.estimate ? Math.min(cell.read / cell.estimate, 1) : 0;
}

function cellText(cell) {
  if (!cell) return "–";
  if (cell.isFinished && cell.status !== "succeeded") return badge(...statusLabel(RUN_STATUS, cell.status));
  if (cell.isFinished) return `✓ ${count(cell.read)}`;
  if (cell.status === "pending" && !cell.read) return "waiting";
  return cell.estimate ? `${count(cell.read)} of ${count(cell.estimate)}` : `${count(cell.read)} …`;
}
