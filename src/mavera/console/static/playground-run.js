/**
 * Send one request to the public API, and read its answer while it arrives.
 *
 * The answer is read with fetch and a reader. EventSource would send the request again when its stream ends, and
 * that would be a second run and a second charge.
 */

import { EventReader, fail, makeAnswer, takeBody, takeEvent } from "./playground-events.js";

/** @typedef {import("./playground-form.js").ApiRequest} ApiRequest */
/** @typedef {import("./playground-events.js").Answer} Answer */

/**
 * @typedef {object} Place  where the API is, and in whose name the session calls it
 * @property {string} base  the path before /api/v1, or an empty text
 * @property {string} workspace
 */

/**
 * @typedef {object} Outcome
 * @property {Answer} answer
 * @property {string} requestId
 * @property {number | null} retryAfter  seconds to wait, if the server named them
 */

/**
 * Return the outcome of a request, however it ends. It never rejects.
 *
 * @param {ApiRequest} request
 * @param {Place} place
 * @param {AbortSignal} signal  aborting it closes the connection, and the server stops the run
 * @param {(answer: Answer) => void} show  called for each piece that arrives
 * @returns {Promise<Outcome>}
 */
export async function run(request, place, signal, show) {
  const answer = makeAnswer();
  /** @type {Outcome} */
  const outcome = { answer, requestId: "", retryAfter: null };
  try {
    const response = await fetch(`${place.base}/api/v1${request.path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Mavera-Workspace": place.workspace },
      body: JSON.stringify(request.body),
      signal,
      cache: "no-store",
    });
    outcome.requestId = response.headers.get("x-request-id") ?? "";
    outcome.retryAfter = Number(response.headers.get("retry-after")) || null;
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") ?? false;
    if (isStream && response.body) await readStream(response.body, answer, show);
    else takeBody(answer, await readBody(response));
  } catch (error) {
    if (signal.aborted) answer.status = "stopped";
    else if (answer.status !== "failed") loseConnection(answer, error);
  }
  return outcome;
}

/** @param {ReadableStream<Uint8Array>} body @param {Answer} answer @param {(answer: Answer) => void} show */
async function readStream(body, answer, show) {
  const events = new EventReader();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  answer.status = "running";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    for (const data of events.feed(decoder.decode(value, { stream: true }))) takeEvent(answer, data);
    show(answer);
  }
  if (answer.status === "running" || answer.status === "waiting") loseConnection(answer, null);
}

/** @param {Response} response @returns {Promise<unknown>} */
async function readBody(response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { error: { message: `The server answered with status ${response.status}.`, code: "service_unavailable" } };
  }
}

/** @param {Answer} answer @param {unknown} error */
function loseConnection(answer, error) {
  const began = answer.text || answer.reasoning;
  const message = began
    ? "The connection to the server broke before the answer ended."
    : "The server could not be reached.";
  fail(answer, { message, code: "connection_lost" });
  if (error && !(error instanceof TypeError)) console.warn(error);
}
