/** The set-up page: reads the state of the integration every few seconds and updates its cards. */

import { get, getAll, INTEGRATION_PATH } from "/console/js/api.js";
import { redirectWithOtherScopes } from "/console/js/consent.js";
import { credentialsForm } from "/console/js/credentials_form.js";
import { disconnectDialog } from "/console/js/disconnect_dialog.js";
import { element, fill, whileBusy } from "/console/js/dom.js";
import { consentOutcome } from "/console/js/labels.js";
import { notice, problemNotice, resultArea } from "/console/js/notices.js";
import { notificationsCard } from "/console/js/notifications_card.js";
import { preflightCheck } from "/console/js/preflight_check.js";
import { statusCard } from "/console/js/status_card.js";
import { syncCard } from "/console/js/sync_card.js";
import { tenantHealth } from "/console/js/tenant_health.js";
import { tenantPicker } from "/console/js/tenant_picker.js";
import { webhookCard } from "/console/js/webhook_card.js";

const POLL_MS = 8000;
const RUNS_SHOWN = 5;

export function showSetup(page, session) {
  const errorArea = element("div", { class: "result" });
  const cards = {};
  let isClosed = false;
  let timer;

  for (const [name, create] of Object.entries({ status: statusCard, health: tenantHealth, picker: tenantPicker, sync: syncCard, credentials: credentialsForm, webhook: webhookCard, notifications: notificationsCard, check: preflightCheck, disconnect: disconnectDialog })) {
    cards[name] = create({ session, refresh, cards });
  }

  async function refresh() {
    clearTimeout(timer);
    if (isClosed) return;
    try {
      const [status, tenants, runs] = await Promise.all([get(INTEGRATION_PATH), getAll(`${INTEGRATION_PATH}/tenants`), get(`${INTEGRATION_PATH}/runs`, { limit: RUNS_SHOWN })]);
      if (isClosed) return;
      fill(errorArea);
      orderCards(status.state);
      for (const card of Object.values(cards)) card.update({ status, tenants, runs: runs.items });
    } catch (problem) {
      if (isClosed) return;
      fill(errorArea, problemNotice(problem, refresh));
    }
    timer = setTimeout(poll, POLL_MS);
  }

  // A tab in the background sends no requests.
  const poll = () => (document.hidden ? (timer = setTimeout(poll, POLL_MS)) : refresh());

  const body = element("div", { class: "cards" });
  let order = null;
  function orderCards(state) {
    const names = cardOrder(state, session.isAdmin);
    if (order === names.join()) return;
    order = names.join();
    fill(body, names.map((name) => cards[name].node));
  }

  fill(page,
    element("h1", { tabindex: "-1" }, "Xero"),
    element("p", { class: "lead" }, "Invoices, payments and credit notes of your Xero organisations, next to everything else about a customer. Nothing is ever written to Xero."),
    consentOutcomeNotice(session),
    errorArea,
    body,
  );
  fill(body, element("p", { class: "loading" }, "Loading…"));
  refresh();
  return () => {
    isClosed = true;
    clearTimeout(timer);
    for (const card of Object.values(cards)) card.close?.();
  };
}

/** The cards in the order in which they are needed: the next step of the set-up first. */
function cardOrder(state, isAdmin) {
  const rest = isAdmin ? ["webhook", "notifications", "check"] : ["webhook", "notifications"];
  if (state === "not_configured" || state === "not_connected") return ["status", "credentials", ...rest];
  const middle = state === "choose_tenants" ? ["picker", "sync", "health"] : ["sync", "health", "picker"];
  return ["status", ...middle, "credentials", ...rest, ...(isAdmin ? ["disconnect"] : [])];
}

/** Show how the consent ended. The outcome code is removed from the URL, so that a reload does not show it again. */
function consentOutcomeNotice(session) {
  const parameters = new URLSearchParams(location.search);
  const code = parameters.get("xero");
  if (!code) return null;
  parameters.delete("xero");
  const remaining = parameters.toString();
  history.replaceState(null, "", location.pathname + (remaining ? `?${remaining}` : "") + location.hash);
  const [tone, title, body] = consentOutcome(code);
  const retry = code === "scope_refused" && session.isAdmin && otherScopesButton();
  const box = notice(tone, title, body, retry, element("p", null, element("button", { type: "button", class: "plain", onclick: () => box.remove() }, "Dismiss")));
  box.dataset.outcome = code;
  return box;
}

/** The next step where Xero refuses one set of permissions: the same consent with the other set. */
function otherScopesButton() {
  const result = resultArea();
  const connect = (event) => whileBusy(event.currentTarget, "Going to Xero…", () => result.attempt(redirectWithOtherScopes));
  return [element("p", null, element("button", { type: "button", class: "primary", onclick: connect }, "Connect with the other permissions")), result.node];
}
