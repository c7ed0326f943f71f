/** Functions that create elements. Every string becomes a text node, so data are never interpreted as markup. */

/** Create an element; a function among its properties becomes an event listener. */
export function element(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) setProperty(node, name, value);
  fill(node, ...children);
  return node;
}

function setProperty(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (typeof value === "function") node.addEventListener(name.slice(2), value);
  else node.setAttribute(name, value === true ? "" : value);
}

/** Replace the children of a node; null, undefined and false are left out. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}

export function badge(text, tone = "neutral") {
  return element("span", { class: `badge ${tone}` }, text);
}

/** A link to another site; text when the address is no http(s) URL. */
export function externalLink(address, text, description = "") {
  if (!/^https?:\/\//.test(address ?? "")) return element("span", null, text);
  const label = description ? `${text}: ${description}` : null;
  return element("a", { href: address, target: "_blank", rel: "noopener noreferrer", "aria-label": label }, text, " ↗");
}

/** A list of terms and their values. */
export function facts(pairs) {
  const shown = pairs.filter(Boolean);
  return element("dl", { class: "facts" }, shown.map(([term, value]) => element("div", null, element("dt", null, term), element("dd", null, value))));
}

let lastId = 0;

/** A labelled input with a hint; gives the input an id that label and hint refer to. */
export function field(label, input, hint = null) {
  lastId += 1;
  input.id ||= `field-${lastId}`;
  const hintNode = hint && element("p", { class: "hint", id: `${input.id}-hint` }, hint);
  if (hintNode) input.setAttribute("aria-describedby", hintNode.id);
  return element("div", { class: "field" }, element("label", { for: input.id }, label), input, hintNode);
}

/** A section with a heading that labels it. */
export function section(title, ...children) {
  lastId += 1;
  const heading = element("h2", { id: `section-${lastId}`, tabindex: "-1" }, title);
  return element("section", { "aria-labelledby": heading.id }, heading, ...children);
}

/** A table. Narrow screens show each row as a card, so every cell has its column's name as an attribute. */
export function table(caption, columns, rows) {
  const head = columns.map(([name, kind]) => element("th", { scope: "col", class: kind }, name));
  return element(
    "table",
    null,
    element("caption", { class: "visually-hidden" }, caption),
    element("thead", null, element("tr", null, head)),
    element("tbody", null, rows.map((cells) => element("tr", null, cells.map((cell, index) => tableCell(columns[index], cell))))),
  );
}

function tableCell([name, kind], content) {
  return element("td", { class: kind, "data-label": name }, element("div", null, content));
}

/** Announce a sentence to screen readers. */
export function announce(sentence) {
  document.getElementById("announcer").textContent = sentence;
}

/** Run `work` while the button is disabled and shows another text, so that no request is sent twice. */
export async function whileBusy(button, text, work) {
  const label = button.textContent;
  button.disabled = true;
  button.textContent = text;
  try {
    return await work();
  } finally {
    button.disabled = false;
    button.textContent = label;
  }
}

/** Return a function that tells whether its argument differs from that of the call before, to render only changes. */
export function changeDetector() {
  let previous;
  return (value) => {
    const current = JSON.stringify(value);
    const hasChanged = current !== previous;
    previous = current;
    return hasChanged;
  };
}
