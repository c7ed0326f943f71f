/** The app registered at Xero: the redirect URI to copy there, the credentials to copy here, the permissions asked for. */

import { call, XERO } from "/console/js/api.js";
import { copyField } from "/console/js/copying.js";
import { busy, changes, facts, field, fill, h, section } from "/console/js/dom.js";
import { notice, outlet } from "/console/js/notices.js";

const SCOPE_SETS = {
  broad: ["Broad", "For an app created before 2 March 2026. Asks for accounting.transactions.read and accounting.contacts.read."],
  granular: ["Granular", "For an app created on or after 2 March 2026, which may not ask for the broad ones. Asks for accounting.invoices.read, accounting.payments.read and accounting.contacts.read."],
};
const EXACT = "Copy it into Xero (My Apps, Configuration, Redirect URIs) character for character: no slash at the end, nothing added.";

export function appPart({ session, refresh }) {
  const out = outlet();
  const body = h("div", null);
  const node = section("Your Xero app", body);
  const differs = changes();
  let isTouched = false;

  function update({ card }) {
    const shown = [card.redirect_uri, card.client_id, card.credentials_managed_by, card.scope_set, card.scopes_requested];
    // What somebody is typing is not painted over.
    if (isTouched || !differs(shown)) return;
    fill(body,
      copyField("Redirect URI", card.redirect_uri, EXACT),
      session.isAdmin ? form(card) : describe(card),
    );
  }

  function form(card) {
    const isOurs = card.credentials_managed_by !== "environment";
    const clientId = h("input", { type: "text", name: "client_id", required: true, value: card.client_id ?? "", autocomplete: "off", spellcheck: "false", class: "mono" });
    const secret = h("input", { type: "password", name: "client_secret", required: true, autocomplete: "new-password" });
    const button = h("button", { class: card.client_id ? "" : "primary" }, "Save credentials");
    const made = h("form", { oninput: () => { isTouched = true; } },
      isOurs ? [
        field("Client id", clientId, "From Xero: My Apps, your app, Configuration."),
        field("Client secret", secret, card.client_id ? "One is kept, sealed; it is never shown again. Enter one to replace it." : "Xero shows it once, when you generate it."),
      ] : notice("info", "Managed by the environment", `The client id ${card.client_id} and its secret come from the service's settings and are changed there.`),
      scopeChoice(card),
      isOurs && h("p", null, button),
      out.node,
    );
    made.addEventListener("submit", (event) => {
      event.preventDefault();
      busy(button, "Saving…", () => save({ client_id: clientId.value, client_secret: secret.value, scope_set: chosenScopes() }));
    });
    return made;
  }

  async function save(credentials) {
    const done = await out.attempt(() => call("PUT", `${XERO}/credentials`, { body: credentials }));
    if (!done) return;
    isTouched = false;
    await refresh();
    out.good("Credentials saved", "Now press Connect Xero above.");
  }

  const chosenScopes = () => node.querySelector("input[name=scope_set]:checked")?.value ?? null;

  return { node, update, chosenScopes };
}

function scopeChoice(card) {
  return h("fieldset", null,
    h("legend", null, "Permissions to ask for"),
    Object.entries(SCOPE_SETS).map(([code, [name, text]]) => {
      const input = h("input", { type: "radio", name: "scope_set", value: code, id: `scopes-${code}`, checked: card.scope_set === code, "aria-describedby": `scopes-${code}-text` });
      return h("div", { class: "choice" }, input, h("div", null, h("label", { for: input.id }, name), h("p", { class: "hint", id: `scopes-${code}-text` }, text)));
    }),
    h("p", { class: "hint" }, "Both are read-only. The choice is used the next time you connect."),
  );
}

function describe(card) {
  return facts([["Client id", card.client_id ?? "not set"], ["Permissions asked for", h("code", null, card.scopes_requested.join(" "))]]);
}
