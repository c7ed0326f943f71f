/** Calls to the API, its problems, its lists and its stream. */

import { currentSession } from "/console/js/session.js";

export const XERO = "/api/integrations/xero";
const PATIENCE_MS = 30_000;

/** A refusal as the service words it (RFC 9457), or the service's silence. */
export class Problem extends Error {
  constructor({ title, detail, code, status = 0, request_id: requestId = "", errors = [] }) {
    super(detail || title);
    Object.assign(this, { title, detail, code, status, requestId, errors });
  }
}

const UNREACHABLE = {
  title: "The service cannot be reached",
  detail: "Nothing was changed that we know of. Check your connection; if it lasts, tell whoever runs the service.",
  code: "unreachable",
};

export async function call(method, path, { query = {}, body } = {}) {
  const response = await send(method, address(path, query), body, AbortSignal.timeout(PATIENCE_MS));
  return response.status === 204 ? null : response.json();
}

export const get = (path, query) => call("GET", path, { query });

/** Read a whole list, page by page. */
export async function all(path, query = {}) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...query, limit: 200, cursor });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}

/** Follow a stream of server-sent events; fetch is used because EventSource cannot send the token. */
export async function* stream(path, signal, lastId = null) {
  const response = await send("GET", path, undefined, signal, lastId === null ? {} : { "Last-Event-ID": lastId });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    yield* blocks.map(parseEvent);
  }
}

function parseEvent(block) {
  const found = { id: null, kind: "", data: null };
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) found.id = line.slice(4);
    if (line.startsWith("event: ")) found.kind = line.slice(7);
    if (line.startsWith("data: ")) found.data = JSON.parse(line.slice(6));
  }
  return found;
}

function address(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

async function send(method, path, body, signal, more = {}) {
  const headers = { Authorization: `Bearer ${currentSession()?.token ?? ""}`, ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
  } catch (error) {
    throw new Problem({ ...UNREACHABLE, name: error.name });
  }
  if (response.ok) return response;
  const problem = await readProblem(response);
  if (response.status === 401) window.dispatchEvent(new CustomEvent("signed-out", { detail: problem.detail }));
  throw problem;
}

async function readProblem(response) {
  const fallback = { title: `The service answered ${response.status}`, detail: "It did not say why.", code: "unknown" };
  const told = await response.json().catch(() => ({}));
  return new Problem({ ...fallback, request_id: response.headers.get("x-request-id") ?? "", ...told, status: response.status });
}
