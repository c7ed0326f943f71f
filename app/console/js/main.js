/** The page's frame: signing in, the address in the bar, and which page is shown. */

import { get, XERO } from "/console/js/api.js";
import { announce, fill, h } from "/console/js/dom.js";
import { showCustomer } from "/console/js/customer.js";
import { showCustomers } from "/console/js/customers.js";
import { showEvents } from "/console/js/events.js";
import { keepDistancesFresh } from "/console/js/format.js";
import { currentSession, forgetToken, keepToken, readToken, takeTokenFromAddress } from "/console/js/session.js";
import { showSetup } from "/console/js/setup.js";
import { showSignIn } from "/console/js/sign_in.js";

const ROUTES = [
  [/^#\/customers\/([0-9a-f-]{36})$/, showCustomer, "#/customers"],
  [/^#\/customers$/, showCustomers, "#/customers"],
  [/^#\/events$/, showEvents, "#/events"],
  [/^/, showSetup, "#/setup"],
];

const main = document.getElementById("main");
const top = document.getElementById("top");
let leave = null;

function route({ isFirst = false } = {}) {
  const handed = takeTokenFromAddress();
  if (handed !== null) return signIn(handed);
  const session = currentSession();
  if (!session) return askForToken();
  leavePage();
  const [pattern, show, home] = ROUTES.find(([each]) => each.test(location.hash));
  showFrame(session, home);
  const page = h("div", { class: "page" });
  fill(main, page);
  leave = show(page, session, ...pattern.exec(location.hash).slice(1)) ?? null;
  const heading = page.querySelector("h1");
  document.title = `${heading.textContent} · Xero in Vectis`;
  // Whoever listens hears where they are; on the first load the browser says so itself.
  if (!isFirst) heading.focus();
  window.scrollTo(0, 0);
  return undefined;
}

function showFrame(session, home) {
  top.hidden = false;
  document.getElementById("who").textContent = `${session.subject} · ${session.role || "no role"}`;
  for (const link of top.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === home) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function askForToken(problem = null) {
  leavePage();
  top.hidden = true;
  document.title = "Sign in · Xero in Vectis";
  const page = h("div", { class: "page narrow" });
  fill(main, page);
  showSignIn(page, signIn, problem);
}

/** Keep the token only if the service takes it. */
async function signIn(text) {
  try {
    const { token } = readToken(text);
    keepToken(token);
    await get(XERO);
  } catch (problem) {
    forgetToken();
    return askForToken(problem);
  }
  announce("Signed in.");
  return route();
}

function leavePage() {
  leave?.();
  leave = null;
}

document.getElementById("sign-out").addEventListener("click", () => {
  forgetToken();
  askForToken();
  announce("Signed out.");
});
window.addEventListener("signed-out", ({ detail }) => {
  if (top.hidden) return;
  forgetToken();
  askForToken({ title: "Sign in again", detail });
});
window.addEventListener("hashchange", () => route());
keepDistancesFresh();
route({ isFirst: true });
