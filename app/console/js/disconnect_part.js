/** Disconnecting: what stops and what stays is said first. */

import { call, XERO } from "/console/js/api.js";
import { announce, busy, fill, h, section } from "/console/js/dom.js";
import { plural } from "/console/js/format.js";
import { outlet } from "/console/js/notices.js";

export function disconnectPart({ refresh }) {
  const out = outlet();
  const stops = h("ul", null);
  const confirm = h("button", { type: "button", class: "danger" }, "Disconnect Xero");
  const cancel = h("button", { type: "button", autofocus: true }, "Keep connected");
  const dialog = h("dialog", { "aria-labelledby": "disconnect-title" },
    h("h2", { id: "disconnect-title" }, "Disconnect Xero?"),
    h("p", null, "You need not disconnect to reconnect: Reconnect Xero does that in place."),
    h("h3", null, "What stops"), stops,
    h("h3", null, "What stays"),
    h("ul", null,
      h("li", null, "Customers, invoices, payments and credit notes, readable as they were at the last sync."),
      h("li", null, "Your choice of organisations, the app's credentials and the webhook key: connecting again goes on where this ended.")),
    out.node,
    h("p", { class: "actions" }, cancel, confirm),
  );
  const open = h("button", { type: "button", class: "danger" }, "Disconnect…");
  const node = section("Disconnect", h("p", null, "Ends our access to every organisation at once, even when Xero is not answering."), h("p", null, open), dialog);

  open.addEventListener("click", () => { out.clear(); dialog.showModal(); });
  cancel.addEventListener("click", () => dialog.close());
  confirm.addEventListener("click", () => busy(confirm, "Disconnecting…", async () => {
    if (!(await out.attempt(() => call("POST", `${XERO}/disconnect`)))) return;
    dialog.close();
    announce("Xero is disconnected.");
    await refresh();
    document.querySelector("h1").focus();
  }));

  function update({ card }) {
    fill(stops,
      h("li", null, "Our access is revoked at Xero and wiped here at once."),
      h("li", null, `${plural(card.tenants.selected, "organisation")} will no longer be synced, nor follow webhooks. Figures stay as they are and say how old they are.`));
  }

  return { node, update };
}
