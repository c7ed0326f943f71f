/** Follows a run until it ends: receives its progress events from the stream, and polls the run itself. */

import { get, INTEGRATION_PATH, streamEvents } from "/console/js/api.js";

const POLL_MS = 4000;
const POLL_WITHOUT_STREAM_MS = 1000;
const RECONNECT_MS = 2000;

/**
 * Follow a run. The stream is opened before the run is started, so that no event is missed.
 *
 * `start` returns the run. `onRun` gets the run whenever it was polled, `onPage` each progress event of a page.
 * Returns `stop`, a function that stops following, and `finished`, a promise of the run when it has ended.
 */
export function followRun(start, { onRun, onPage }) {
  const abort = new AbortController();
  const state = { runId: null, isStreaming: false, isPollFailing: false, lastEventId: null, pollNow: () => undefined };
  return { stop: () => abort.abort(), finished: followUntilEnd(start, { onRun, onPage }, state, abort) };
}

async function followUntilEnd(start, { onRun, onPage }, state, abort) {
  try {
    await new Promise((resolve) => {
      listen(state, abort.signal, onPage, resolve);
      setTimeout(resolve, RECONNECT_MS);
    });
    let run = await start();
    state.runId = run.id;
    onRun(run);
    while (run.status === "running" && !abort.signal.aborted) {
      await waitForNextPoll(state);
      run = await poll(run, state);
      onRun(run);
    }
    return run;
  } finally {
    abort.abort();
  }
}

/** Read the run again. After an error the run is returned as it was, because the next poll may succeed. */
async function poll(run, state) {
  try {
    const current = await get(`${INTEGRATION_PATH}/runs/${run.id}`);
    state.isPollFailing = false;
    return current;
  } catch (problem) {
    state.isPollFailing = true;
    if (problem.status === 401 || problem.status === 404) throw problem;
    return run;
  }
}

function waitForNextPoll(state) {
  return new Promise((resolve) => {
    state.pollNow = resolve;
    setTimeout(resolve, state.isStreaming && !state.isPollFailing ? POLL_MS : POLL_WITHOUT_STREAM_MS);
  });
}

/** Keep the stream open and resume it after the last event; while it is interrupted, the run is polled more often. */
async function listen(state, signal, onPage, onOpen) {
  while (!signal.aborted) {
    try {
      for await (const event of streamEvents(`${INTEGRATION_PATH}/progress`, signal, state.lastEventId)) {
        state.isStreaming = true;
        onOpen();
        handleEvent(state, event, onPage);
      }
    } catch {
      onOpen();
    }
    state.isStreaming = false;
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

function handleEvent(state, { id, kind, data }, onPage) {
  if (id !== null) state.lastEventId = id;
  if (!data || data.run_id !== state.runId) return;
  if (kind === "page") onPage(data);
  if (kind === "run_finished") state.pollNow();
}
