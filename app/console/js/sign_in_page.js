/** The sign-in page, where a token is pasted. */

import { element, field, fill, whileBusy } from "/console/js/dom.js";
import { problemNotice } from "/console/js/notices.js";

export function showSignIn(page, signIn, problem) {
  const input = element("textarea", { rows: "4", required: true, spellcheck: "false", autocomplete: "off", name: "token" });
  const button = element("button", { class: "primary" }, "Sign in");
  const submit = (event) => {
    event.preventDefault();
    whileBusy(button, "Checking…", () => signIn(input.value));
  };
  const result = element("div", { class: "result" }, problem && problemNotice(titled(problem)));
  const form = element("form", { class: "panel", onsubmit: submit },
    field("Access token", input, "It stays in this tab and is forgotten when the tab closes."),
    element("p", null, button),
  );
  fill(page,
    element("h1", { tabindex: "-1" }, "Sign in"),
    element("p", { class: "lead" }, "Xero for Vectis: connect organisations, see what customers are billed and owe."),
    result,
    form,
    element("p", { class: "hint" }, "No token? An operator prints one with ", element("code", null, "vectis-xero token --role admin"), "."),
  );
  input.focus();
}

function titled(problem) {
  return problem.title ? problem : { title: "This token cannot be used", detail: problem.message };
}
