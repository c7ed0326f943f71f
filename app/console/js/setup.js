/** The set-up page: one look at the service paints all its parts, every few seconds again. */

import { all, get, XERO } from "/console/js/api.js";
import { appPart } from "/console/js/app_part.js";
import { cardPart } from "/console/js/card_part.js";
import { checkPart } from "/console/js/check_part.js";
import { disconnectPart } from "/console/js/disconnect_part.js";
import { leaveWithOtherScopes } from "/console/js/connect.js";
import { busy, fill, h } from "/console/js/dom.js";
import { healthPart } from "/console/js/health_part.js";
import { notice, outlet, problemNotice } from "/console/js/notices.js";
import { pickerPart } from "/console/js/picker_part.js";
import { syncPart } from "/console/js/sync_part.js";
import { webhookPart } from "/console/js/webhook_part.js";
import { outcomeOf } from "/console/js/words.js";

const LOOK_MS = 8000;
const RUNS_SHOWN = 5;

export function showSetup(page, session) {
  const trouble = h("div", { class: "outlet" });
  const context = { session, refresh, model: null };
  const parts = {};
  let isOver = false;
  let timer;

  for (const [name, make] of Object.entries({ card: cardPart, health: healthPart, picker: pickerPart, sync: syncPart, app: appPart, webhook: webhookPart, check: checkPart, disconnect: disconnectPart })) {
    parts[name] = make({ ...context, parts });
  }

  async function refresh() {
    clearTimeout(timer);
    if (isOver) return;
    try {
      const [card, tenants, runs] = await Promise.all([get(XERO), all(`${XERO}/tenants`), get(`${XERO}/runs`, { limit: RUNS_SHOWN })]);
      if (isOver) return;
      fill(trouble);
      arrange(card.state);
      for (const part of Object.values(parts)) part.update({ card, tenants, runs: runs.items });
    } catch (problem) {
      if (isOver) return;
      fill(trouble, problemNotice(problem, refresh));
    }
    timer = setTimeout(look, LOOK_MS);
  }

  // A tab nobody looks at asks nothing.
  const look = () => (document.hidden ? (timer = setTimeout(look, LOOK_MS)) : refresh());

  const body = h("div", { class: "parts" });
  let order = null;
  function arrange(state) {
    const names = orderFor(state, session.isAdmin);
    if (order === names.join()) return;
    order = names.join();
    fill(body, names.map((name) => parts[name].node));
  }

  fill(page,
    h("h1", { tabindex: "-1" }, "Xero"),
    h("p", { class: "lead" }, "Invoices, payments and credit notes of your Xero organisations, beside everything else you know of a customer. Nothing is ever written to Xero."),
    takeOutcome(session),
    trouble,
    body,
  );
  fill(body, h("p", { class: "loading" }, "Loading…"));
  refresh();
  return () => {
    isOver = true;
    clearTimeout(timer);
    for (const part of Object.values(parts)) part.leave?.();
  };
}

/** What has to be done next comes first. */
function orderFor(state, isAdmin) {
  const rest = isAdmin ? ["webhook", "check"] : ["webhook"];
  if (state === "not_configured" || state === "not_connected") return ["card", "app", ...rest];
  const middle = state === "choose_tenants" ? ["picker", "sync", "health"] : ["sync", "health", "picker"];
  return ["card", ...middle, "app", ...rest, ...(isAdmin ? ["disconnect"] : [])];
}

/** Say how the consent ended, once: the code leaves the address, so that a reload does not say it again. */
function takeOutcome(session) {
  const asked = new URLSearchParams(location.search);
  const code = asked.get("xero");
  if (!code) return null;
  asked.delete("xero");
  const rest = asked.toString();
  history.replaceState(null, "", location.pathname + (rest ? `?${rest}` : "") + location.hash);
  const [tone, title, body] = outcomeOf(code);
  const retry = code === "scope_refused" && session.isAdmin && otherScopesButton();
  const box = notice(tone, title, body, retry, h("p", null, h("button", { type: "button", class: "quiet", onclick: () => box.remove() }, "Dismiss")));
  box.dataset.outcome = code;
  return box;
}

/** The way on where Xero refuses one set of permissions: the same consent with the other. */
function otherScopesButton() {
  const out = outlet();
  const connect = (event) => busy(event.currentTarget, "Going to Xero…", () => out.attempt(leaveWithOtherScopes));
  return [h("p", null, h("button", { type: "button", class: "primary", onclick: connect }, "Connect with the other permissions")), out.node];
}
