/** Following a run while it works: its steps as they are streamed, and a look at the run itself now and then. */

import { get, stream, XERO } from "/console/js/api.js";

const LOOK_MS = 4000;
const LOOK_WITHOUT_STREAM_MS = 1000;
const RECONNECT_MS = 2000;

/**
 * Open the stream first and the run after, so that no step falls between the two.
 *
 * `begin` returns a run, `onRun` is given the run whenever it was looked at, `onStep` each of its streamed steps.
 * Returns a function that stops following; `done` resolves with the run as it ended.
 */
export function follow(begin, { onRun, onStep }) {
  const stop = new AbortController();
  const state = { runId: null, isStreaming: false, isBlind: false, lastId: null, wake: () => undefined };
  return { stop: () => stop.abort(), done: walk(begin, { onRun, onStep }, state, stop) };
}

async function walk(begin, { onRun, onStep }, state, stop) {
  try {
    await new Promise((resolve) => {
      listen(state, stop.signal, onStep, resolve);
      setTimeout(resolve, RECONNECT_MS);
    });
    let run = await begin();
    state.runId = run.id;
    onRun(run);
    while (run.status === "running" && !stop.signal.aborted) {
      await pause(state);
      run = await look(run, state);
      onRun(run);
    }
    return run;
  } finally {
    stop.abort();
  }
}

/** A look that fails is no news; the next one may not. */
async function look(run, state) {
  try {
    const seen = await get(`${XERO}/runs/${run.id}`);
    state.isBlind = false;
    return seen;
  } catch (problem) {
    state.isBlind = true;
    if (problem.status === 401 || problem.status === 404) throw problem;
    return run;
  }
}

function pause(state) {
  return new Promise((resolve) => {
    state.wake = resolve;
    setTimeout(resolve, state.isStreaming && !state.isBlind ? LOOK_MS : LOOK_WITHOUT_STREAM_MS);
  });
}

/** Keep the stream open, resuming after the last step seen; while it is down the run is looked at more often. */
async function listen(state, signal, onStep, whenOpen) {
  while (!signal.aborted) {
    try {
      for await (const event of stream(`${XERO}/progress`, signal, state.lastId)) {
        state.isStreaming = true;
        whenOpen();
        take(state, event, onStep);
      }
    } catch {
      whenOpen();
    }
    state.isStreaming = false;
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

function take(state, { id, kind, data }, onStep) {
  if (id !== null) state.lastId = id;
  if (!data || data.run_id !== state.runId) return;
  if (kind === "page") onStep(data);
  if (kind === "run_finished") state.wake();
}
