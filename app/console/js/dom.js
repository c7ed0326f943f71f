/** Building elements. Every string becomes a text node, so no data is ever read as markup. */

export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  fill(node, ...children);
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (typeof value === "function") node.addEventListener(name.slice(2), value);
  else node.setAttribute(name, value === true ? "" : value);
}

/** Put these children in the place of what is there; null, undefined and false are left out. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}

export function badge(text, tone = "neutral") {
  return h("span", { class: `badge ${tone}` }, text);
}

/** A link out; anything but a web address becomes plain text. */
export function outLink(address, text, about = "") {
  if (!/^https?:\/\//.test(address ?? "")) return h("span", null, text);
  const label = about ? `${text}: ${about}` : null;
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer", "aria-label": label }, text, " ↗");
}

export function facts(pairs) {
  const shown = pairs.filter(Boolean);
  return h("dl", { class: "facts" }, shown.map(([term, value]) => h("div", null, h("dt", null, term), h("dd", null, value))));
}

let numbers = 0;

/** A labelled field; `input` gets the id its label and its hint point to. */
export function field(label, input, hint = null) {
  numbers += 1;
  input.id ||= `field-${numbers}`;
  const note = hint && h("p", { class: "hint", id: `${input.id}-hint` }, hint);
  if (note) input.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, note);
}

export function section(title, ...children) {
  numbers += 1;
  const heading = h("h2", { id: `section-${numbers}`, tabindex: "-1" }, title);
  return h("section", { "aria-labelledby": heading.id }, heading, ...children);
}

/** A table that narrow screens show as cards; each cell carries its column's name for them. */
export function table(caption, columns, rows) {
  const head = columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name));
  return h(
    "table",
    null,
    h("caption", { class: "unseen" }, caption),
    h("thead", null, h("tr", null, head)),
    h("tbody", null, rows.map((cells) => h("tr", null, cells.map((cell, place) => tableCell(columns[place], cell))))),
  );
}

function tableCell([name, kind], content) {
  return h("td", { class: kind, "data-label": name }, h("div", null, content));
}

/** Say something to those who listen rather than look. */
export function announce(sentence) {
  document.getElementById("announcer").textContent = sentence;
}

/** Run `work` with the button off and its text changed, so that nothing is asked for twice. */
export async function busy(button, text, work) {
  const before = button.textContent;
  button.disabled = true;
  button.textContent = text;
  try {
    return await work();
  } finally {
    button.disabled = false;
    button.textContent = before;
  }
}

/** Return a function that says whether its argument differs from the one before, to leave untouched what did not. */
export function changes() {
  let before;
  return (value) => {
    const now = JSON.stringify(value);
    const differs = now !== before;
    before = now;
    return differs;
  };
}
