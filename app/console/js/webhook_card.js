/** The card of webhooks: the URL to copy into Xero, the signing key, and the state of the deliveries. */

import { call, INTEGRATION_PATH } from "/console/js/api.js";
import { copyField } from "/console/js/copy_field.js";
import { badge, changeDetector, element, facts, field, fill, section, whileBusy } from "/console/js/dom.js";
import { count, plural, relativeTime } from "/console/js/format.js";
import { resultArea } from "/console/js/notices.js";

export function webhookCard({ session, refresh }) {
  const result = resultArea();
  const address = element("div", null);
  const deliveries = element("div", null);
  const key = element("input", { type: "password", name: "signing_key", required: true, autocomplete: "new-password" });
  const save = element("button", null, "Save key");
  const remove = element("button", { type: "button", class: "plain" }, "Remove key");
  const form = element("form", null,
    field("Webhook signing key", key, "From Xero: your app, Webhooks. The previous key stays valid for 24 hours, so no delivery is lost while you change it."),
    element("p", { class: "actions" }, save, remove),
    result.node,
  );
  const node = section("Webhooks",
    element("p", null, "Optional. With webhooks, a change in Xero appears here within seconds; without them, after the next scheduled sync."),
    address, session.isAdmin && form, deliveries);
  const hasChanged = changeDetector();

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    whileBusy(save, "Saving…", async () => {
      if (!(await result.attempt(() => call("PUT", `${INTEGRATION_PATH}/webhook-key`, { body: { signing_key: key.value } })))) return;
      key.value = "";
      await refresh();
      result.showSuccess("Key saved", "In Xero, press Send 'Intent to receive'; its time appears below when it has arrived.");
    });
  });
  remove.addEventListener("click", () => whileBusy(remove, "Removing…", async () => {
    if (!window.confirm("Remove every webhook key? Deliveries will be refused, and after a day Xero stops sending them.")) return;
    if (!(await result.attempt(() => call("DELETE", `${INTEGRATION_PATH}/webhook-key`)))) return;
    await refresh();
    result.showSuccess("Key removed", "Changes now come with the scheduled sync.");
  }));

  function update({ status: { webhook } }) {
    if (!hasChanged(webhook)) return;
    remove.hidden = !webhook.configured;
    const hint = webhook.url.startsWith("https://") ? "Copy it into Xero: your app, Webhooks, Send notifications to." : "Xero delivers to public https addresses only; this URL can only be used for a trial.";
    if (address.dataset.url !== webhook.url) fill(address, copyField("Webhook URL", webhook.url, hint));
    address.dataset.url = webhook.url;
    fill(deliveries, renderFacts(webhook));
  }

  function focusKey() {
    key.focus();
    key.scrollIntoView({ block: "center" });
  }

  return { node, update, focusKey };
}

function renderFacts(webhook) {
  const refused = webhook.signature_failures_24h;
  return facts([
    ["Signing key", webhook.configured ? badge("Set", "good") : badge("Not set", "neutral")],
    ["Last intent to receive", relativeTime(webhook.last_intent_to_receive_at)],
    ["Last event", relativeTime(webhook.last_event_at)],
    ["Waiting", plural(webhook.pending, "event")],
    ["Failed", webhook.failed ? element("a", { href: "#/events" }, plural(webhook.failed, "event")) : "none"],
    ["Refused in 24 hours", element("span", null, count(refused), refused > 0 && element("span", { class: "hint" }, " because of a wrong signature; Xero sends some on purpose to test the endpoint"))],
  ]);
}
