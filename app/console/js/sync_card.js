/** The card of the sync: starts one, shows the progress of the running one, and lists the recent runs. */

import { call, INTEGRATION_PATH } from "/console/js/api.js";
import { announce, changeDetector, element, fill, section, whileBusy } from "/console/js/dom.js";
import { durationText } from "/console/js/format.js";
import { RUN_STATUS, statusLabel } from "/console/js/labels.js";
import { notice, resultArea } from "/console/js/notices.js";
import { progressView } from "/console/js/progress_view.js";
import { describeRun, runTotals } from "/console/js/run_details.js";
import { followRun } from "/console/js/run_follower.js";

export function syncCard({ session, refresh }) {
  const result = resultArea();
  const current = element("div", { class: "current" });
  const runs = element("div", null);
  const button = element("button", { type: "button", class: "primary" }, "Sync now");
  const node = section("Sync",
    session.isAdmin && element("p", { class: "actions" }, button, element("span", { class: "hint" }, "Reads what has changed since the last sync. While a sync is running, its progress is shown.")),
    result.node, current, element("h3", null, "Recent runs"), runs);
  const hasChanged = changeDetector();
  let names = new Map();
  let followed = null;

  const nameOf = (id) => names.get(id) ?? id;

  async function follow(start) {
    const view = progressView(nameOf);
    followed = followRun(start, {
      onRun(run) {
        if (!view.node.isConnected) fill(current, view.node);
        view.addRun(run);
      },
      onPage: view.addPage,
    });
    try {
      showResult(await followed.finished);
    } catch (problem) {
      fill(current);
      result.showProblem(problem);
    } finally {
      followed = null;
    }
    await refresh();
  }

  function showResult(run) {
    if (run.status === "running") return;
    const [label, tone] = statusLabel(RUN_STATUS, run.status);
    const text = `${runTotals(run)} in ${durationText(run.started_at, run.finished_at)}.${run.error ? ` ${run.error}` : ""}`;
    fill(current, notice(tone, `Sync ${label.toLowerCase()}`, text));
    announce(`Sync ${label.toLowerCase()}. ${text}`);
  }

  button.addEventListener("click", () => whileBusy(button, "Syncing…", async () => {
    result.clear();
    announce("Sync started.");
    if (!followed) await follow(() => call("POST", `${INTEGRATION_PATH}/sync`, { body: {} }));
  }));

  function update({ status, tenants, runs: recent }) {
    names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name]));
    const running = recent.find((run) => run.status === "running");
    if (running && !followed) whileBusy(button, "Syncing…", () => follow(async () => running));
    else if (!followed) button.disabled = status.tenants.selected === 0 || status.state === "reconnect_required";
    if (hasChanged([recent, [...names]])) renderRuns(recent);
  }

  function renderRuns(recent) {
    const open = new Set([...runs.querySelectorAll("details[open]")].map((each) => each.dataset.run));
    fill(runs, recent.length ? recent.map((run) => describeRun(run, nameOf, open.has(run.id))) : element("p", { class: "empty" }, "There are no runs yet."));
  }

  return { node, update, close: () => followed?.stop() };
}
