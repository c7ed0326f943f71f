/** A list that shows one page of items, and the next page when the user asks for more. */

import { get } from "/console/js/api.js";
import { announce, element, fill, whileBusy } from "/console/js/dom.js";
import { problemNotice } from "/console/js/notices.js";

/**
 * `render(items)` returns a node of all items read so far; `empty(query)` returns the text for an empty list;
 * `prepare(items)` may read what else a page needs before it is rendered.
 */
export function pagedList(path, { limit = 50, render, empty, prepare = async () => undefined }) {
  const body = element("div", null);
  const errorArea = element("div", { class: "result" });
  const more = element("button", { type: "button", hidden: true }, "Show more");
  const node = element("div", null, errorArea, body, element("p", null, more));
  let query = {};
  let items = [];
  let cursor = null;
  let lastRequest = 0;

  async function load(next) {
    lastRequest += 1;
    const request = lastRequest;
    try {
      const page = await get(path, { ...query, limit, cursor: next });
      await prepare(page.items);
      if (request !== lastRequest) return;
      items = next ? [...items, ...page.items] : page.items;
      cursor = page.next_cursor;
      more.hidden = cursor === null;
      fill(errorArea);
      fill(body, items.length ? render(items) : element("p", { class: "empty" }, empty(query)));
      if (next) announce(`${items.length} shown.`);
    } catch (problem) {
      if (request === lastRequest) fill(errorArea, problemNotice(problem, () => load(next)));
    }
  }

  more.addEventListener("click", () => whileBusy(more, "Loading…", () => load(cursor)));

  return {
    node,
    /** Show the first page of the items that match these filters. */
    show(filters) {
      query = filters;
      if (!items.length) fill(body, element("p", { class: "loading" }, "Loading…"));
      return load(null);
    },
  };
}
