/** Syncing: now, as it goes on, and what came of it lately. */

import { call, XERO } from "/console/js/api.js";
import { announce, busy, changes, fill, h, section } from "/console/js/dom.js";
import { follow } from "/console/js/following.js";
import { lasted } from "/console/js/format.js";
import { notice, outlet } from "/console/js/notices.js";
import { progressView } from "/console/js/progress.js";
import { describeRun, figuresOf } from "/console/js/runs.js";
import { RUN_STATUS, sayStatus } from "/console/js/words.js";

export function syncPart({ session, refresh }) {
  const out = outlet();
  const live = h("div", { class: "live" });
  const runs = h("div", null);
  const button = h("button", { type: "button", class: "primary" }, "Sync now");
  const node = section("Sync",
    session.isAdmin && h("p", { class: "actions" }, button, h("span", { class: "hint" }, "Pulls what changed since the last time. While one is running, this follows it.")),
    out.node, live, h("h3", null, "Recent runs"), runs);
  const differs = changes();
  let names = new Map();
  let followed = null;

  const nameOf = (id) => names.get(id) ?? id;

  async function watch(begin) {
    const view = progressView(nameOf);
    followed = follow(begin, {
      onRun(run) {
        if (!view.node.isConnected) fill(live, view.node);
        view.takeRun(run);
      },
      onStep: view.takeStep,
    });
    try {
      finish(await followed.done);
    } catch (problem) {
      fill(live);
      out.problem(problem);
    } finally {
      followed = null;
    }
    await refresh();
  }

  function finish(run) {
    if (run.status === "running") return;
    const [words, tone] = sayStatus(RUN_STATUS, run.status);
    const text = `${figuresOf(run)} in ${lasted(run.started_at, run.finished_at)}.${run.error ? ` ${run.error}` : ""}`;
    fill(live, notice(tone, `Sync ${words.toLowerCase()}`, text));
    announce(`Sync ${words.toLowerCase()}. ${text}`);
  }

  button.addEventListener("click", () => busy(button, "Syncing…", async () => {
    out.clear();
    announce("Sync started.");
    if (!followed) await watch(() => call("POST", `${XERO}/sync`, { body: {} }));
  }));

  function update({ card, tenants, runs: recent }) {
    names = new Map(tenants.map((tenant) => [tenant.tenant_id, tenant.name]));
    const running = recent.find((run) => run.status === "running");
    if (running && !followed) busy(button, "Syncing…", () => watch(async () => running));
    else if (!followed) button.disabled = card.tenants.selected === 0 || card.state === "reconnect_required";
    if (differs([recent, [...names]])) paint(recent);
  }

  function paint(recent) {
    const open = new Set([...runs.querySelectorAll("details[open]")].map((each) => each.dataset.run));
    fill(runs, recent.length ? recent.map((run) => describeRun(run, nameOf, open.has(run.id))) : h("p", { class: "empty" }, "Nothing has run yet."));
  }

  return { node, update, leave: () => followed?.stop() };
}
