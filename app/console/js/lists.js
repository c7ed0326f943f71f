/** A list that grows page by page as it is asked to. */

import { get } from "/console/js/api.js";
import { announce, busy, fill, h } from "/console/js/dom.js";
import { problemNotice } from "/console/js/notices.js";

/**
 * `draw(items)` paints all items read so far; `empty` is what to say when there are none; `prepare(items)` may read
 * what else belongs to a page before it is painted.
 */
export function growingList(path, { limit = 50, draw, empty, prepare = async () => undefined }) {
  const body = h("div", null);
  const trouble = h("div", { class: "outlet" });
  const more = h("button", { type: "button", hidden: true }, "Show more");
  const node = h("div", null, trouble, body, h("p", null, more));
  let query = {};
  let items = [];
  let cursor = null;
  let asking = 0;

  async function read(next) {
    asking += 1;
    const mine = asking;
    try {
      const page = await get(path, { ...query, limit, cursor: next });
      await prepare(page.items);
      if (mine !== asking) return;
      items = next ? [...items, ...page.items] : page.items;
      cursor = page.next_cursor;
      more.hidden = cursor === null;
      fill(trouble);
      fill(body, items.length ? draw(items) : h("p", { class: "empty" }, empty(query)));
      if (next) announce(`${items.length} shown.`);
    } catch (problem) {
      if (mine === asking) fill(trouble, problemNotice(problem, () => read(next)));
    }
  }

  more.addEventListener("click", () => busy(more, "Loading…", () => read(cursor)));

  return {
    node,
    /** Start over with these filters. */
    show(filters) {
      query = filters;
      if (!items.length) fill(body, h("p", { class: "loading" }, "Loading…"));
      return read(null);
    },
  };
}
