/** The pre-flight check: everything a sync needs, tried without changing anything. */

import { call, XERO } from "/console/js/api.js";
import { announce, badge, busy, fill, h, section } from "/console/js/dom.js";
import { notice, outlet } from "/console/js/notices.js";
import { CHECKS, say } from "/console/js/words.js";

export function checkPart() {
  const out = outlet();
  const results = h("div", null);
  const button = h("button", { type: "button" }, "Check now");
  button.addEventListener("click", () => busy(button, "Checking…", async () => {
    const found = await out.attempt(() => call("POST", `${XERO}/check`));
    if (!found) return fill(results);
    announce(found.summary);
    return fill(results, notice(found.ok ? "good" : "warning", found.ok ? "All is well" : "Something needs you", found.summary), h("ul", { class: "checks" }, found.checks.map(draw)));
  }));
  const node = section("Pre-flight check", h("p", null, "Tries credentials, connection, permissions and the rest, and changes nothing."), h("p", null, button), out.node, results);
  return { node, update: () => undefined };
}

function draw({ name, ok, detail, fix }) {
  return h("li", null, badge(ok ? "Passed" : "Failed", ok ? "good" : "critical"), h("div", null, h("strong", null, say(CHECKS, name)), h("p", null, detail), fix && h("p", { class: "hint" }, fix)));
}
