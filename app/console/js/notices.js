/** Notices: boxes with a problem, a success or an information. */

import { announce, element, fill } from "/console/js/dom.js";

const SYMBOLS = { good: "✓", info: "i", warning: "!", critical: "!", neutral: "i" };

export function notice(tone, title, body, ...more) {
  const symbol = element("span", { class: "symbol", "aria-hidden": "true" }, SYMBOLS[tone]);
  const text = element("div", { class: "notice-text" }, element("p", { class: "notice-title" }, title), body && element("p", null, body), ...more);
  return element("div", { class: `notice ${tone}`, role: tone === "critical" ? "alert" : null }, symbol, text);
}

/** A problem as the service describes it, with its request id. */
export function problemNotice(problem, retry = null) {
  const errors = (problem.errors ?? []).map(({ pointer, message }) => element("li", null, pointer && element("code", null, pointer), pointer && ": ", message));
  return notice(
    "critical",
    problem.title ?? "Something went wrong on this page",
    problem.detail ?? String(problem.message ?? problem),
    errors.length > 0 && element("ul", null, errors),
    problem.requestId && element("p", { class: "hint" }, "Request id to quote: ", element("code", null, problem.requestId)),
    retry && element("p", null, element("button", { type: "button", onclick: retry }, "Try again")),
  );
}

/** An area that shows the result of the last action. */
export function resultArea() {
  const node = element("div", { class: "result" });
  return {
    node,
    clear: () => fill(node),
    showSuccess(title, body) {
      fill(node, notice("good", title, body));
      announce(`${title}. ${body ?? ""}`);
    },
    showProblem: (problem) => fill(node, problemNotice(problem)),
    /** Run an action and return its result; show what it throws and return null. */
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
