/** The application: signs in, shows the page that belongs to the URL's hash, and marks it in the navigation. */

import { get, INTEGRATION_PATH } from "/console/js/api.js";
import { showCustomer } from "/console/js/customer_page.js";
import { showCustomers } from "/console/js/customers_page.js";
import { announce, element, fill } from "/console/js/dom.js";
import { refreshRelativeTimes } from "/console/js/format.js";
import { currentSession, readToken, removeToken, storeToken, takeTokenFromUrl } from "/console/js/session.js";
import { showSetup } from "/console/js/setup_page.js";
import { showSignIn } from "/console/js/sign_in_page.js";
import { showWebhookEvents } from "/console/js/webhook_events_page.js";

const ROUTES = [
  [/^#\/customers\/([0-9a-f-]{36})$/, showCustomer, "#/customers"],
  [/^#\/customers$/, showCustomers, "#/customers"],
  [/^#\/events$/, showWebhookEvents, "#/events"],
  [/^/, showSetup, "#/setup"],
];

const main = document.getElementById("main");
const header = document.getElementById("header");
let closePage = null;

function route({ isFirst = false } = {}) {
  const urlToken = takeTokenFromUrl();
  if (urlToken !== null) return signIn(urlToken);
  const session = currentSession();
  if (!session) return showSignInPage();
  leavePage();
  const [pattern, show, navLink] = ROUTES.find(([each]) => each.test(location.hash));
  showHeader(session, navLink);
  const page = element("div", { class: "page" });
  fill(main, page);
  closePage = show(page, session, ...pattern.exec(location.hash).slice(1)) ?? null;
  const heading = page.querySelector("h1");
  document.title = `${heading.textContent} · Xero in Vectis`;
  // A screen reader then reads the new page's heading; on the first load the browser announces the page itself.
  if (!isFirst) heading.focus();
  window.scrollTo(0, 0);
  return undefined;
}

function showHeader(session, navLink) {
  header.hidden = false;
  document.getElementById("account-name").textContent = `${session.subject} · ${session.role || "no role"}`;
  for (const link of header.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === navLink) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function showSignInPage(problem = null) {
  leavePage();
  header.hidden = true;
  document.title = "Sign in · Xero in Vectis";
  const page = element("div", { class: "page narrow" });
  fill(main, page);
  showSignIn(page, signIn, problem);
}

/** Store the token, and remove it again when the service does not accept it. */
async function signIn(text) {
  try {
    const { token } = readToken(text);
    storeToken(token);
    await get(INTEGRATION_PATH);
  } catch (problem) {
    removeToken();
    return showSignInPage(problem);
  }
  announce("Signed in.");
  return route();
}

function leavePage() {
  closePage?.();
  closePage = null;
}

document.getElementById("sign-out").addEventListener("click", () => {
  removeToken();
  showSignInPage();
  announce("Signed out.");
});
window.addEventListener("signed-out", ({ detail }) => {
  if (header.hidden) return;
  removeToken();
  showSignInPage({ title: "Sign in again", detail });
});
window.addEventListener("hashchange", () => route());
refreshRelativeTimes();
route({ isFirst: true });
