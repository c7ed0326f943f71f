/** The session: a bearer token in the tab's session storage, which the browser deletes with the tab. */

const KEY = "vectis-token";

/** Read the claims of a token, to decide which buttons to show. The service verifies the token; this does not. */
export function readToken(text) {
  const token = text.trim().replace(/^Bearer\s+/i, "");
  const parts = token.split(".");
  if (parts.length !== 3) throw new Error("This is not a token: a token is three parts with dots between them.");
  let claims;
  try {
    const bytes = Uint8Array.from(atob(parts[1].replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
    claims = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error("This is not a token: its middle part cannot be read. Copy the whole of it.");
  }
  if (typeof claims.exp === "number" && claims.exp * 1000 <= Date.now()) throw new Error("This token has expired; get a new one.");
  return { token, subject: String(claims.sub ?? "unnamed"), role: String(claims.role ?? ""), isAdmin: claims.role === "admin" };
}

export function currentSession() {
  try {
    return readToken(sessionStorage.getItem(KEY) ?? "");
  } catch {
    return null;
  }
}

export function storeToken(token) {
  sessionStorage.setItem(KEY, token);
}

export function removeToken() {
  sessionStorage.removeItem(KEY);
}

/** Remove `#token=…` from the URL, so that it stays in no history; return the token, or null. */
export function takeTokenFromUrl() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return decodeURIComponent(found[1]);
}
