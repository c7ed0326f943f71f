/** Signing in: a token is pasted, or came in the address. */

import { busy, field, fill, h } from "/console/js/dom.js";
import { problemNotice } from "/console/js/notices.js";

export function showSignIn(page, signIn, problem) {
  const input = h("textarea", { rows: "4", required: true, spellcheck: "false", autocomplete: "off", name: "token" });
  const button = h("button", { class: "primary" }, "Sign in");
  const submit = (event) => {
    event.preventDefault();
    busy(button, "Checking…", () => signIn(input.value));
  };
  const outlet = h("div", { class: "outlet" }, problem && problemNotice(named(problem)));
  const form = h("form", { class: "panel", onsubmit: submit },
    field("Access token", input, "It stays in this tab and is forgotten when the tab closes."),
    h("p", null, button),
  );
  fill(page,
    h("h1", { tabindex: "-1" }, "Sign in"),
    h("p", { class: "lead" }, "Xero for Vectis: connect organisations, see what customers are billed and owe."),
    outlet,
    form,
    h("p", { class: "hint" }, "No token? An operator prints one with ", h("code", null, "vectis-xero token --role admin"), "."),
  );
  input.focus();
}

function named(problem) {
  return problem.title ? problem : { title: "This token cannot be used", detail: problem.message };
}
