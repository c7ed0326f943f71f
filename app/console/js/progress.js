/** A run while it works: one bar over all, and per organisation how far each kind of record is. */

import { badge, fill, h, table } from "/console/js/dom.js";
import { count, plural } from "/console/js/format.js";
import { RESOURCES, RUN_STATUS, sayStatus } from "/console/js/words.js";

const OVER = new Set(["succeeded", "partial", "paused", "failed"]);
const COLUMNS = [["Organisation"], ...Object.values(RESOURCES).map((name) => [name, "number"])];

export function progressView(nameOf) {
  const bar = h("progress", { max: "1", "aria-label": "Sync progress" });
  const line = h("p", { class: "progress-line" });
  const rows = h("div", null);
  const node = h("div", { class: "progress" }, bar, line, h("details", { open: true }, h("summary", null, "By organisation"), rows));
  const cells = new Map();

  const key = (part) => `${part.tenant_id} ${part.resource}`;

  function takeRun(run) {
    for (const part of run.resources) {
      const before = cells.get(key(part)) ?? { read: 0, estimate: null, isDone: false };
      cells.set(key(part), { ...before, ...part, read: Math.max(before.read, part.fetched), isDone: before.isDone || OVER.has(part.status) });
    }
    paint();
  }

  function takeStep(step) {
    const before = cells.get(key(step)) ?? { tenant_id: step.tenant_id, resource: step.resource, status: "running" };
    const status = step.is_complete ? "succeeded" : "running";
    cells.set(key(step), { ...before, status, read: step.rows_read, estimate: step.row_estimate, isDone: step.is_complete });
    paint();
  }

  function paint() {
    const found = [...cells.values()];
    const done = found.filter((cell) => cell.isDone).length;
    const read = found.reduce((sum, cell) => sum + (cell.read ?? 0), 0);
    bar.max = Math.max(found.length, 1);
    bar.value = found.reduce((sum, cell) => sum + share(cell), 0);
    line.textContent = `${count(done)} of ${plural(found.length, "list")} done, ${plural(read, "record")} read`;
    const tenants = [...new Set(found.map((cell) => cell.tenant_id))].sort((one, other) => nameOf(one).localeCompare(nameOf(other)));
    fill(rows, table("Progress by organisation", COLUMNS, tenants.map((id) => [nameOf(id), ...Object.keys(RESOURCES).map((resource) => cellText(cells.get(`${id} ${resource}`)))])));
  }

  return { node, takeRun, takeStep };
}

function share(cell) {
  if (cell.isDone) return 1;
  return cell.estimate ? Math.min(cell.read / cell.estimate, 1) : 0;
}

function cellText(cell) {
  if (!cell) return "–";
  if (cell.isDone && cell.status !== "succeeded") return badge(...sayStatus(RUN_STATUS, cell.status));
  if (cell.isDone) return `✓ ${count(cell.read)}`;
  if (cell.status === "pending" && !cell.read) return "waiting";
  return cell.estimate ? `${count(cell.read)} of ${count(cell.estimate)}` : `${count(cell.read)} …`;
}
