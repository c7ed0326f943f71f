/** The card: how things stand, what is wrong, what to do. */

import { leaveForXero, returnsHere } from "/console/js/connect.js";
import { badge, busy, changes, facts, fill, h, section } from "/console/js/dom.js";
import { ago, count, every, instant } from "/console/js/format.js";
import { notice, outlet } from "/console/js/notices.js";
import { STATES } from "/console/js/words.js";

export function cardPart({ session, parts }) {
  const out = outlet();
  const body = h("div", null, h("p", { class: "loading" }, "Loading…"));
  const node = section("Connection", out.node, body);
  const differs = changes();

  const connect = (button) => busy(button, "Going to Xero…", () => out.attempt(() => leaveForXero(parts.app.chosenScopes())));

  function act(action, button) {
    if (action.href.endsWith("/connect")) return connect(button);
    if (action.href.endsWith("/webhook-key")) return parts.webhook.focusKey();
    return undefined;
  }

  function banner(found) {
    const until = found.until && h("p", { class: "hint" }, "Until ", instant(found.until));
    const since = found.since && h("p", { class: "hint" }, "Since ", instant(found.since));
    const button = found.action && h("button", { type: "button", class: "primary", onclick: (event) => act(found.action, event.currentTarget) }, found.action.label);
    const help = found.action && (session.isAdmin ? h("p", null, button) : h("p", { class: "hint" }, "An administrator can put this right."));
    const box = notice(found.severity, found.title, found.body, since, until, help);
    box.dataset.banner = found.code;
    return box;
  }

  function update({ card }) {
    if (!differs(card)) return;
    const [title, tone, next] = STATES[card.state] ?? [card.state, "neutral", ""];
    node.dataset.state = card.state;
    fill(body,
      h("div", { class: "state" }, badge(title, tone), h("p", null, next)),
      !session.isAdmin && card.state !== "connected" && askWhom(card),
      foldBanners(card.banners, banner),
      session.isAdmin && actions(card),
      describe(card),
    );
  }

  function actions(card) {
    if (card.state === "not_configured") return null;
    const isNew = card.state === "not_connected";
    const label = isNew ? "Connect Xero" : card.state === "needs_permission" ? "Review permissions" : "Reconnect Xero";
    const isUrgent = card.state !== "connected" && card.state !== "choose_tenants";
    return [
      h("p", { class: "actions" },
        h("button", { type: "button", class: isUrgent ? "primary" : "", onclick: (event) => connect(event.currentTarget) }, label),
        !isNew && h("span", { class: "hint" }, "Reconnecting keeps organisations, history and figures. It also adds organisations.")),
      !returnsHere(card) && notice("warning", "Open this page at its own address",
        `Xero sends you back to ${new URL(card.redirect_uri).origin}, but you are at ${location.origin}. Connecting works only from there.`),
    ];
  }

  return { node, update };
}

function askWhom(card) {
  const who = card.connected_by ? `Ask ${card.connected_by}, who connected Xero, or another administrator.` : "Ask an administrator.";
  return h("p", { class: "hint" }, `You can look at everything here, but not change it. ${who}`);
}

const MOST_BANNERS = 4;

/** A hundred organisations with the same trouble shall not push the rest off the screen. */
function foldBanners(banners, draw) {
  const shown = banners.slice(0, MOST_BANNERS).map(draw);
  const folded = banners.slice(MOST_BANNERS);
  return [...shown, folded.length > 0 && h("details", null, h("summary", null, `${count(folded.length)} more to know`), folded.map(draw))];
}

function describe(card) {
  const { sync, tenants } = card;
  if (card.state === "not_configured") return null;
  return facts([
    ["Organisations", `${count(tenants.selected)} of ${count(tenants.available)} selected`],
    ["Figures as of", card.data_as_of ? ago(card.data_as_of) : "no complete sync yet"],
    ["Next sync", nextSync(sync)],
    card.connected_at && ["Connected", h("span", null, instant(card.connected_at), card.connected_by && ` by ${card.connected_by}`)],
    card.refresh_token_expires_at && ["Connection good until", h("span", null, instant(card.refresh_token_expires_at), h("span", { class: "hint" }, " and renewed with every use"))],
    card.missing_scopes.length > 0 && ["Missing permission", h("code", null, card.missing_scopes.join(" "))],
  ]);
}

function nextSync(sync) {
  if (sync.running) return "running now";
  if (!sync.enabled) return "by hand: this replica has no schedule";
  if (sync.next_tick_at && new Date(sync.next_tick_at) <= Date.now()) return "due now";
  return sync.next_tick_at ? h("span", null, ago(sync.next_tick_at), `, ${every(sync.interval_seconds)}`) : every(sync.interval_seconds);
}
