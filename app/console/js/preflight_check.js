/** The card of the pre-flight check, which tests everything a sync needs without changing anything. */

import { call, INTEGRATION_PATH } from "/console/js/api.js";
import { announce, badge, element, fill, section, whileBusy } from "/console/js/dom.js";
import { CHECK_STATES, CHECKS, labelOf, statusLabel } from "/console/js/labels.js";
import { notice, resultArea } from "/console/js/notices.js";

export function preflightCheck() {
  const result = resultArea();
  const output = element("div", null);
  const button = element("button", { type: "button" }, "Check now");
  button.addEventListener("click", () => whileBusy(button, "Checking…", async () => {
    const report = await result.attempt(() => call("POST", `${INTEGRATION_PATH}/check`));
    if (!report) return fill(output);
    announce(report.summary);
    return fill(output, notice(report.ok ? "good" : "warning", titleOf(report), report.summary), element("ul", { class: "checks" }, report.checks.map(renderCheck)));
  }));
  const node = section("Pre-flight check", element("p", null, "Checks credentials, connection, permissions and everything else a sync needs. Changes nothing."), element("p", null, button), result.node, output);
  return { node, update: () => undefined };
}

function titleOf({ ok, checks }) {
  if (ok) return "All checks passed";
  return checks.some(({ state }) => state === "failed") ? "Some checks failed" : "The set-up is not complete yet";
}

function renderCheck({ name, state, detail, fix }) {
  return element("li", null, badge(...statusLabel(CHECK_STATES, state)), element("div", null, element("strong", null, labelOf(CHECKS, name)), element("p", null, detail), fix && element("p", { class: "hint" }, fix)));
}
