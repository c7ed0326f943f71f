/** The card of messages to people: where they are sent, and a button that sends a test message. */

import { call, INTEGRATION_PATH } from "/console/js/api.js";
import { badge, changeDetector, element, fill, section, whileBusy } from "/console/js/dom.js";
import { resultArea } from "/console/js/notices.js";

export function notificationsCard({ session, refresh }) {
  const result = resultArea();
  const addresses = element("div", null);
  const deliveries = element("div", null);
  const button = element("button", { type: "button" }, "Send a test message");
  const actions = session.isAdmin && element("p", null, button);
  const node = section("Messages to people",
    element("p", null, "Optional. When something is wrong here and when it is well again, people are told by e-mail, in Teams, in Slack or elsewhere."),
    addresses, actions, result.node, deliveries);
  const hasChanged = changeDetector();

  button.addEventListener("click", () => whileBusy(button, "Sending…", async () => {
    fill(deliveries);
    const sent = await result.attempt(() => call("POST", `${INTEGRATION_PATH}/notifications/test`));
    if (!sent) return;
    fill(deliveries, element("ul", { class: "checks" }, sent.addresses.map(renderDelivery)));
    await refresh();
  }));

  function update({ status: { notify_addresses: names } }) {
    if (!hasChanged(names)) return;
    if (actions) actions.hidden = !names.length;
    fill(addresses, names.length
      ? element("p", null, "Messages are sent to ", element("span", { class: "mono" }, names.join(", ")), ".")
      : element("p", { class: "hint" }, "Nobody is told yet: ask whoever runs this service to set NOTIFY_URLS."));
  }

  return { node, update };
}

function renderDelivery({ address, delivered, reason }) {
  const state = delivered ? badge("Delivered", "good") : badge("Not delivered", "critical");
  return element("li", null, state, element("div", null, element("strong", { class: "mono" }, address), reason && element("p", { class: "hint" }, reason)));
}
