/** The client of the API: requests, problems, whole lists, and the stream of progress events. */

import { currentSession } from "/console/js/session.js";

export const INTEGRATION_PATH = "/api/integrations/xero";
const TIMEOUT_MS = 30_000;

/** An error response of the service (RFC 9457), or an error that says the service cannot be reached. */
export class Problem extends Error {
  constructor({ title, detail, code, status = 0, request_id: requestId = "", errors = [] }) {
    super(detail || title);
    Object.assign(this, { title, detail, code, status, requestId, errors });
  }
}

const UNREACHABLE = {
  title: "The service cannot be reached",
  detail: "The request may not have been processed. Check your connection and try again; if the error persists, contact the operator of the service.",
  code: "unreachable",
};

/** Send a request and return its JSON, or null for an empty response. Throws a Problem. */
export async function call(method, path, { query = {}, body } = {}) {
  const response = await send(method, urlOf(path, query), body, AbortSignal.timeout(TIMEOUT_MS));
  return response.status === 204 ? null : response.json();
}

export const get = (path, query) => call("GET", path, { query });

/** Return all items of a list; requests its pages one after another. */
export async function getAll(path, query = {}) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...query, limit: 200, cursor });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}

/** Yield server-sent events. Uses fetch, because EventSource cannot send an Authorization header. */
export async function* streamEvents(path, signal, lastEventId = null) {
  const response = await send("GET", path, undefined, signal, lastEventId === null ? {} : { "Last-Event-ID": lastEventId });
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
  const event = { id: null, kind: "", data: null };
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) event.id = line.slice(4);
    if (line.startsWith("event: ")) event.kind = line.slice(7);
    if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
  }
  return event;
}

function urlOf(path, query) {
  const parameters = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return parameters.length ? `${path}?${new URLSearchParams(parameters)}` : path;
}

async function send(method, path, body, signal, extraHeaders = {}) {
  const headers = { Authorization: `Bearer ${currentSession()?.token ?? ""}`, ...extraHeaders };
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
  const fallback = { title: `The service answered ${response.status}`, detail: "The response does not say why.", code: "unknown" };
  const members = await response.json().catch(() => ({}));
  return new Problem({ ...fallback, request_id: response.headers.get("x-request-id") ?? "", ...members, status: response.status });
}
