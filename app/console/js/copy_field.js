/** A read-only field with a button that copies its value. */

import { announce, element, field } from "/console/js/dom.js";

export function copyField(label, value, hint) {
  const input = element("input", { type: "text", readonly: true, value, class: "mono", onfocus: (event) => event.currentTarget.select() });
  const button = element("button", { type: "button", "aria-label": `Copy ${label}` }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = await copyValue(input);
    announce(`${label}: ${button.textContent}`);
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
  const labelledField = field(label, input, hint);
  const row = element("div", { class: "copy" });
  input.replaceWith(row);
  row.append(input, button);
  return labelledField;
}

/** Copy the value and return the button's new text. Without HTTPS there is no clipboard API; the value is selected instead. */
async function copyValue(input) {
  try {
    await navigator.clipboard.writeText(input.value);
    return "Copied ✓";
  } catch {
    input.focus();
    return "Press Ctrl+C";
  }
}
