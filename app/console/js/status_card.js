/** The card of the connection: its state, its banners, and the actions that are possible. */

import { isRedirectOrigin, redirectToConsent } from "/console/js/consent.js";
import { badge, changeDetector, element, facts, fill, section, whileBusy } from "/console/js/dom.js";
import { count, instant, intervalText, relativeTime } from "/console/js/format.js";
import { INTEGRATION_STATES } from "/console/js/labels.js";
import { notice, resultArea } from "/console/js/notices.js";

export function statusCard({ session, cards }) {
  const result = resultArea();
  const body = element("div", null, element("p", { class: "loading" }, "Loading…"));
  const node = section("Connection", result.node, body);
  const hasChanged = changeDetector();

  const connect = (button) => whileBusy(button, "Going to Xero…", () => result.attempt(() => redirectToConsent(cards.credentials.chosenScopes())));

  function runAction(action, button) {
    if (action.href.endsWith("/connect")) return connect(button);
    if (action.href.endsWith("/webhook-key")) return cards.webhook.focusKey();
    if (action.href.endsWith("/credentials")) return cards.credentials.focusSecret();
    return undefined;
  }

  function renderBanner(banner) {
    const until = banner.until && element("p", { class: "hint" }, "Until ", instant(banner.until));
    const since = banner.since && element("p", { class: "hint" }, "Since ", instant(banner.since));
    const button = banner.action && element("button", { type: "button", class: "primary", onclick: (event) => runAction(banner.action, event.currentTarget) }, banner.action.label);
    const help = banner.action && (session.isAdmin ? element("p", null, button) : element("p", { class: "hint" }, "An administrator can resolve this."));
    const box = notice(banner.severity, banner.title, banner.body, since, until, help);
    box.dataset.banner = banner.code;
    return box;
  }

  function update({ status }) {
    if (!hasChanged(status)) return;
    const [title, tone, nextStep] = INTEGRATION_STATES[status.state] ?? [status.state, "neutral", ""];
    node.dataset.state = status.state;
    fill(body,
      element("div", { class: "state" }, badge(title, tone), element("p", null, nextStep)),
      !session.isAdmin && status.state !== "connected" && readOnlyHint(status),
      renderBanners(status.banners, renderBanner),
      session.isAdmin && renderActions(status),
      renderFacts(status),
    );
  }

  function renderActions(status) {
    if (status.state === "not_configured") return null;
    const isNew = status.state === "not_connected";
    const label = isNew ? "Connect Xero" : status.state === "needs_permission" ? "Review permissions" : "Reconnect Xero";
    const isUrgent = status.state !== "connected" && status.state !== "choose_tenants";
    return [
      element("p", { class: "actions" },
        element("button", { type: "button", class: isUrgent ? "primary" : "", onclick: (event) => connect(event.currentTarget) }, label),
        !isNew && element("span", { class: "hint" }, "Reconnecting keeps organisations and their data. Organisations can be added too.")),
      !isRedirectOrigin(status) && notice("warning", "Open this page at its own address",
        `Xero sends you back to ${new URL(status.redirect_uri).origin}, but you are at ${location.origin}. Connecting works only from there.`),
    ];
  }

  return { node, update };
}

function readOnlyHint(status) {
  const who = status.connected_by ? `Ask ${status.connected_by}, who connected Xero, or another administrator.` : "Ask an administrator.";
  return element("p", { class: "hint" }, `You can look at everything here, but not change it. ${who}`);
}

const MAX_BANNERS = 4;

/** Show the first banners and fold the others, as each of a hundred organisations may have one. */
function renderBanners(banners, render) {
  const shown = banners.slice(0, MAX_BANNERS).map(render);
  const folded = banners.slice(MAX_BANNERS);
  return [...shown, folded.length > 0 && element("details", null, element("summary", null, `${count(folded.length)} more messages`), folded.map(render))];
}

function renderFacts(status) {
  const { sync, tenants } = status;
  if (status.state === "not_configured") return null;
  return facts([
    ["Organisations", `${count(tenants.selected)} of ${count(tenants.available)} selected`],
    ["Data as of", status.data_as_of ? relativeTime(status.data_as_of) : "no complete sync yet"],
    ["Next sync", nextSync(sync)],
    status.connected_at && ["Connected", element("span", null, instant(status.connected_at), status.connected_by && ` by ${status.connected_by}`)],
    status.refresh_token_expires_at && ["Connection valid until", element("span", null, instant(status.refresh_token_expires_at), element("span", { class: "hint" }, ", extended with every use"))],
    status.missing_scopes.length > 0 && ["Missing permission", element("code", null, status.missing_scopes.join(" "))],
  ]);
}

function nextSync(sync) {
  if (sync.running) return "running now";
  if (!sync.enabled) return "only on request: this replica runs no schedule";
  if (sync.next_tick_at && new Date(sync.next_tick_at) <= Date.now()) return "due now";
  return sync.next_tick_at ? element("span", null, relativeTime(sync.next_tick_at), `, ${intervalText(sync.interval_seconds)}`) : intervalText(sync.interval_seconds);
}
