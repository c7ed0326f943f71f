/** Starts a consent: sends the browser to Xero's consent page. */

import { call, get, INTEGRATION_PATH } from "/console/js/api.js";

/** Start a consent and go to Xero's page in this tab: the cookie that binds the consent belongs to this browser. */
export async function redirectToConsent(scopeSet = null) {
  const { authorization_url: url } = await call("POST", `${INTEGRATION_PATH}/connect`, { body: scopeSet ? { scope_set: scopeSet } : {} });
  location.assign(url);
  // The browser takes a moment to leave the page; the button stays disabled until then.
  await new Promise((resolve) => setTimeout(resolve, 5000));
}

/** Start a consent with the set of permissions that was not asked for the last time. */
export async function redirectWithOtherScopes() {
  const status = await get(INTEGRATION_PATH);
  await redirectToConsent(status.scope_set === "broad" ? "granular" : "broad");
}

/** Whether Xero will send the browser back to this origin; the consent's cookie is not sent to another one. */
export function isRedirectOrigin(status) {
  return new URL(status.redirect_uri).origin === location.origin;
}
