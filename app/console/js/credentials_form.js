/** The card of the Xero app: the redirect URI to copy into Xero, the app's credentials, and the permissions to request. */

import { call, INTEGRATION_PATH } from "/console/js/api.js";
import { copyField } from "/console/js/copy_field.js";
import { changeDetector, element, facts, field, fill, section, whileBusy } from "/console/js/dom.js";
import { notice, resultArea } from "/console/js/notices.js";

const SCOPE_SETS = {
  broad: ["Broad", "For an app created before 2 March 2026. Requests accounting.transactions.read and accounting.contacts.read."],
  granular: ["Granular", "For an app created on or after 2 March 2026, which cannot request the broad ones. Requests accounting.invoices.read, accounting.payments.read and accounting.contacts.read."],
};
const REDIRECT_URI_HINT = "Copy it into Xero (My Apps, Configuration, Redirect URIs) character for character: no slash at the end, nothing added.";

export function credentialsForm({ session, refresh }) {
  const result = resultArea();
  const body = element("div", null);
  const node = section("Your Xero app", body);
  const hasChanged = changeDetector();
  let hasUnsavedInput = false;

  function update({ status }) {
    const displayed = [status.redirect_uri, status.client_id, status.credentials_managed_by, status.scope_set, status.scopes_requested];
    // Input that has not been saved must not be overwritten.
    if (hasUnsavedInput || !hasChanged(displayed)) return;
    fill(body,
      copyField("Redirect URI", status.redirect_uri, REDIRECT_URI_HINT),
      session.isAdmin ? renderForm(status) : renderFacts(status),
    );
  }

  function renderForm(status) {
    const isEditable = status.credentials_managed_by !== "environment";
    const clientId = element("input", { type: "text", name: "client_id", required: true, value: status.client_id ?? "", autocomplete: "off", spellcheck: "false", class: "mono" });
    const secret = element("input", { type: "password", name: "client_secret", required: true, autocomplete: "new-password" });
    const button = element("button", { class: status.client_id ? "" : "primary" }, "Save credentials");
    const form = element("form", { oninput: () => { hasUnsavedInput = true; } },
      isEditable ? [
        field("Client id", clientId, "From Xero: My Apps, your app, Configuration."),
        field("Client secret", secret, status.client_id ? "A secret is stored encrypted and is never shown again. Enter one to replace it." : "Xero shows it once, when you generate it."),
      ] : notice("info", "Managed by the environment", `The client id ${status.client_id} and its secret come from the service's settings and are changed there.`),
      scopeSetFields(status),
      isEditable && element("p", null, button),
      result.node,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      whileBusy(button, "Saving…", () => save({ client_id: clientId.value, client_secret: secret.value, scope_set: chosenScopes() }));
    });
    return form;
  }

  async function save(credentials) {
    const isSaved = await result.attempt(() => call("PUT", `${INTEGRATION_PATH}/credentials`, { body: credentials }));
    if (!isSaved) return;
    hasUnsavedInput = false;
    await refresh();
    result.showSuccess("Credentials saved", "Now press Connect Xero above.");
  }

  const chosenScopes = () => node.querySelector("input[name=scope_set]:checked")?.value ?? null;

  function focusSecret() {
    const secret = node.querySelector("input[name=client_secret]");
    secret?.focus();
    secret?.scrollIntoView({ block: "center" });
  }

  return { node, update, chosenScopes, focusSecret };
}

function scopeSetFields(status) {
  return element("fieldset", null,
    element("legend", null, "Permissions to request"),
    Object.entries(SCOPE_SETS).map(([code, [name, text]]) => {
      const input = element("input", { type: "radio", name: "scope_set", value: code, id: `scopes-${code}`, checked: status.scope_set === code, "aria-describedby": `scopes-${code}-text` });
      return element("div", { class: "choice" }, input, element("div", null, element("label", { for: input.id }, name), element("p", { class: "hint", id: `scopes-${code}-text` }, text)));
    }),
    element("p", { class: "hint" }, "Both are read-only. The choice is used the next time you connect."),
  );
}

function renderFacts(status) {
  return facts([["Client id", status.client_id ?? "not set"], ["Requested permissions", element("code", null, status.scopes_requested.join(" "))]]);
}
