/** Sending the browser to Xero's consent page and hearing of it when that cannot be done. */

import { call, get, XERO } from "/console/js/api.js";

/** Begin a consent and leave for Xero's page, in this very tab: the cookie of the attempt is this browser's. */
export async function leaveForXero(scopeSet = null) {
  const { authorization_url: address } = await call("POST", `${XERO}/connect`, { body: scopeSet ? { scope_set: scopeSet } : {} });
  location.assign(address);
  // The page is left in a moment; until then the button stays busy.
  await new Promise((resolve) => setTimeout(resolve, 5000));
}

/** Begin a consent with the set of permissions that was not asked for the last time. */
export async function leaveWithOtherScopes() {
  const card = await get(XERO);
  await leaveForXero(card.scope_set === "broad" ? "granular" : "broad");
}

/** Whether Xero would send the browser back to this very site; to another, the cookie does not go along. */
export function returnsHere(card) {
  return new URL(card.redirect_uri).origin === location.origin;
}
