/** Boxes that tell of something: a problem, a success, a thing to know. */

import { announce, fill, h } from "/console/js/dom.js";

const MARKS = { good: "✓", info: "i", warning: "!", critical: "!", neutral: "i" };

export function notice(tone, title, body, ...more) {
  const mark = h("span", { class: "mark", "aria-hidden": "true" }, MARKS[tone]);
  const text = h("div", { class: "notice-text" }, h("p", { class: "notice-title" }, title), body && h("p", null, body), ...more);
  return h("div", { class: `notice ${tone}`, role: tone === "critical" ? "alert" : null }, mark, text);
}

/** A refusal in the service's words, with the request id to quote. */
export function problemNotice(problem, retry = null) {
  const errors = (problem.errors ?? []).map(({ pointer, message }) => h("li", null, pointer && h("code", null, pointer), pointer && ": ", message));
  return notice(
    "critical",
    problem.title ?? "Something went wrong on this page",
    problem.detail ?? String(problem.message ?? problem),
    errors.length > 0 && h("ul", null, errors),
    problem.requestId && h("p", { class: "hint" }, "Request id to quote: ", h("code", null, problem.requestId)),
    retry && h("p", null, h("button", { type: "button", onclick: retry }, "Try again")),
  );
}

/** A place for what the last action came to. */
export function outlet() {
  const node = h("div", { class: "outlet" });
  return {
    node,
    clear: () => fill(node),
    good(title, body) {
      fill(node, notice("good", title, body));
      announce(`${title}. ${body ?? ""}`);
    },
    problem: (problem) => fill(node, problemNotice(problem)),
    /** Run an action: what it throws is shown here, and null comes back. */
    async attempt(work) {
      fill(node);
      try {
        return (await work()) ?? true;
      } catch (problem) {
        fill(node, problemNotice(problem));
        return null;
      }
    },
  };
}
