/** Webhooks: the address to copy into Xero, the key to copy from there, and how deliveries are doing. */

import { call, XERO } from "/console/js/api.js";
import { copyField } from "/console/js/copying.js";
import { badge, busy, changes, facts, field, fill, h, section } from "/console/js/dom.js";
import { ago, count, plural } from "/console/js/format.js";
import { outlet } from "/console/js/notices.js";

export function webhookPart({ session, refresh }) {
  const out = outlet();
  const address = h("div", null);
  const status = h("div", null);
  const key = h("input", { type: "password", name: "signing_key", required: true, autocomplete: "new-password" });
  const save = h("button", null, "Save key");
  const forget = h("button", { type: "button", class: "quiet" }, "Remove key");
  const form = h("form", null,
    field("Webhook signing key", key, "From Xero: your app, Webhooks. The key before it stays good for 24 hours, so nothing is lost while you change it."),
    h("p", { class: "actions" }, save, forget),
    out.node,
  );
  const node = section("Webhooks",
    h("p", null, "Optional. With webhooks a change in Xero shows here within seconds; without, with the next scheduled sync."),
    address, session.isAdmin && form, status);
  const differs = changes();

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(save, "Saving…", async () => {
      if (!(await out.attempt(() => call("PUT", `${XERO}/webhook-key`, { body: { signing_key: key.value } })))) return;
      key.value = "";
      await refresh();
      out.good("Key saved", "In Xero, press Send 'Intent to receive'; it shows below when it came.");
    });
  });
  forget.addEventListener("click", () => busy(forget, "Removing…", async () => {
    if (!window.confirm("Remove every webhook key? Deliveries will be refused, and after a day Xero stops sending them.")) return;
    if (!(await out.attempt(() => call("DELETE", `${XERO}/webhook-key`)))) return;
    await refresh();
    out.good("Key removed", "Changes now come with the scheduled sync.");
  }));

  function update({ card: { webhook } }) {
    if (!differs(webhook)) return;
    forget.hidden = !webhook.configured;
    const hint = webhook.url.startsWith("https://") ? "Copy it into Xero: your app, Webhooks, Send notifications to." : "Xero delivers to public https addresses only; this one is for a trial.";
    if (address.dataset.url !== webhook.url) fill(address, copyField("Webhook address", webhook.url, hint));
    address.dataset.url = webhook.url;
    fill(status, describe(webhook));
  }

  function focusKey() {
    key.focus();
    key.scrollIntoView({ block: "center" });
  }

  return { node, update, focusKey };
}

function describe(webhook) {
  const refused = webhook.signature_failures_24h;
  return facts([
    ["Signing key", webhook.configured ? badge("Set", "good") : badge("Not set", "neutral")],
    ["Last intent to receive", ago(webhook.last_intent_to_receive_at)],
    ["Last event", ago(webhook.last_event_at)],
    ["Waiting", plural(webhook.pending, "event")],
    ["Not worked off", webhook.failed ? h("a", { href: "#/events" }, plural(webhook.failed, "event")) : "none"],
    ["Refused in 24 hours", h("span", null, count(refused), refused > 0 && h("span", { class: "hint" }, " for a wrong signature; Xero sends a few such on purpose when it probes"))],
  ]);
}
