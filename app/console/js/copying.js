/** A value to copy: shown whole, selected with one touch, copied with a button. */

import { announce, field, h } from "/console/js/dom.js";

export function copyField(label, value, hint) {
  const input = h("input", { type: "text", readonly: true, value, class: "mono", onfocus: (event) => event.currentTarget.select() });
  const button = h("button", { type: "button", "aria-label": `Copy ${label}` }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = await copied(input);
    announce(`${label}: ${button.textContent}`);
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
  const made = field(label, input, hint);
  const row = h("div", { class: "copy" });
  input.replaceWith(row);
  row.append(input, button);
  return made;
}

/** The clipboard is there on secure pages only; elsewhere the text is selected and the keys are named. */
async function copied(input) {
  try {
    await navigator.clipboard.writeText(input.value);
    return "Copied ✓";
  } catch {
    input.focus();
    return "Press Ctrl+C";
  }
}
