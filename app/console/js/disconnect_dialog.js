/** The card that disconnects Xero, after a dialog has explained the effects. */

import { call, INTEGRATION_PATH } from "/console/js/api.js";
import { announce, element, fill, section, whileBusy } from "/console/js/dom.js";
import { plural } from "/console/js/format.js";
import { resultArea } from "/console/js/notices.js";

export function disconnectDialog({ refresh }) {
  const result = resultArea();
  const effects = element("ul", null);
  const confirm = element("button", { type: "button", class: "danger" }, "Disconnect Xero");
  const cancel = element("button", { type: "button", autofocus: true }, "Keep connected");
  const dialog = element("dialog", { "aria-labelledby": "disconnect-title" },
    element("h2", { id: "disconnect-title" }, "Disconnect Xero?"),
    element("p", null, "You need not disconnect to renew the connection: press Reconnect Xero for that."),
    element("h3", null, "What stops"), effects,
    element("h3", null, "What stays"),
    element("ul", null,
      element("li", null, "Customers, invoices, payments and credit notes, readable as they were at the last sync."),
      element("li", null, "The selection of organisations, the app's credentials and the webhook key: after connecting again, the sync continues.")),
    result.node,
    element("p", { class: "actions" }, cancel, confirm),
  );
  const open = element("button", { type: "button", class: "danger" }, "Disconnect…");
  const node = section("Disconnect", element("p", null, "Ends the service's access to every organisation at once, even when Xero does not respond."), element("p", null, open), dialog);

  open.addEventListener("click", () => { result.clear(); dialog.showModal(); });
  cancel.addEventListener("click", () => dialog.close());
  confirm.addEventListener("click", () => whileBusy(confirm, "Disconnecting…", async () => {
    if (!(await result.attempt(() => call("POST", `${INTEGRATION_PATH}/disconnect`)))) return;
    dialog.close();
    announce("Xero is disconnected.");
    await refresh();
    document.querySelector("h1").focus();
  }));

  function update({ status }) {
    fill(effects,
      element("li", null, "The access is revoked at Xero, and its tokens are deleted here at once."),
      element("li", null, `${plural(status.tenants.selected, "organisation")} will no longer be synced, and webhooks will not be processed. Their data stay as they are and show their age.`));
  }

  return { node, update };
}
