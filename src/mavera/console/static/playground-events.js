/**
 * Read an answer from the events of its stream, or from one body, in both formats.
 *
 *     bytes as text → EventReader.feed → {name, data} → takeEvent(answer, data) → Answer
 *
 * The module is pure: it opens nothing and draws nothing. An event that it does not know changes nothing, so a
 * newer server can send more kinds.
 */

import { isObject } from "./playground-form.js";

/** @typedef {Record<string, any>} Json */
/** @typedef {{name: string, arguments: string}} Call */
/** @typedef {"waiting" | "running" | "completed" | "incomplete" | "failed" | "stopped"} Status */

/**
 * @typedef {object} Answer
 * @property {Status} status
 * @property {string} text
 * @property {string} reasoning
 * @property {string} refusal
 * @property {Call[]} calls  calls of the caller's own tools
 * @property {Json[]} serverCalls  calls that ran on the server
 * @property {Json | null} analysis
 * @property {Json | null} mosaic
 * @property {Json[]} artifacts
 * @property {Json | null} usage
 * @property {string} id
 * @property {string} activity  what the server does at the moment, such as a search
 * @property {string} why  why the answer is incomplete
 * @property {{message: string, code: string, param: string | null} | null} error
 */

/** @returns {Answer} */
export function makeAnswer() {
  return {
    status: "waiting",
    text: "",
    reasoning: "",
    refusal: "",
    calls: [],
    serverCalls: [],
    analysis: null,
    mosaic: null,
    artifacts: [],
    usage: null,
    id: "",
    activity: "",
    why: "",
    error: null,
  };
}

/** Cuts a stream of server-sent events into events, wherever its pieces begin and end. */
export class EventReader {
  #rest = "";

  /**
   * Take the next piece of the stream, and return the data of the events that it completes.
   *
   * @param {string} piece
   * @returns {string[]}
   */
  feed(piece) {
    // A piece may end between \r and \n, so a last \r waits for the next piece.
    const text = this.#rest + piece;
    const usable = text.endsWith("\r") ? text.slice(0, -1) : text;
    const blocks = usable.replace(/\r\n?/g, "\n").split("\n\n");
    this.#rest = (blocks.pop() ?? "") + text.slice(usable.length);
    return blocks.map(readData).filter((data) => data !== "");
  }
}

/** @param {string} block */
function readData(block) {
  return block
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(line.startsWith("data: ") ? 6 : 5))
    .join("\n");
}

/**
 * Change `answer` by one event of either format. Returns whether the event was the last one.
 *
 * @param {Answer} answer
 * @param {string} data
 */
export function takeEvent(answer, data) {
  if (data === "[DONE]") return true;
  const event = JSON.parse(data);
  if (!isObject(event)) return false;
  if (typeof event.type === "string") takeResponsesEvent(answer, event.type, event);
  else takeChunk(answer, event);
  return false;
}

/** @param {Answer} answer @param {string} type @param {Json} event */
function takeResponsesEvent(answer, type, event) {
  if (answer.status === "waiting") answer.status = "running";
  switch (type) {
    case "response.created":
      answer.id = text(event.response?.id);
      break;
    case "response.output_text.delta":
      answer.text += text(event.delta);
      answer.activity = "";
      break;
    case "response.refusal.delta":
      answer.refusal += text(event.delta);
      break;
    case "response.reasoning_text.delta":
      answer.reasoning += text(event.delta);
      break;
    case "response.output_item.added":
      answer.activity = describeItem(event.item);
      break;
    case "response.function_call_arguments.done":
      answer.calls.push({ name: text(event.name), arguments: text(event.arguments) });
      break;
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      takeResponse(answer, event.response);
      break;
    case "error":
      fail(answer, event.error ?? event);
  }
}

/**
 * Change `answer` by the whole body of a response that was not streamed, in either format.
 *
 * @param {Answer} answer
 * @param {unknown} body
 */
export function takeBody(answer, body) {
  if (!isObject(body)) return;
  if (isObject(body.error)) fail(answer, body.error);
  else if (body.object === "response") takeResponse(answer, body);
  else takeCompletion(answer, body);
}

/** @param {Answer} answer @param {Json} response */
function takeResponse(answer, response) {
  answer.id = text(response.id) || answer.id;
  const output = list(response.output);
  const parts = output.filter((item) => item.type === "message").flatMap((item) => list(item.content));
  const joined = parts.filter((part) => part.type === "output_text").map((part) => text(part.text));
  answer.text = joined.join("\n\n") || (response.status === "failed" ? answer.text : "");
  answer.refusal = parts.filter((part) => part.type === "refusal").map((part) => text(part.refusal)).join("");
  answer.calls = output
    .filter((item) => item.type === "function_call" || item.type === "custom_tool_call")
    .map((item) => ({ name: text(item.name), arguments: text(item.arguments ?? item.input) }));
  takeMembers(answer, response);
  answer.serverCalls = list(response.server_tool_calls);
  answer.activity = "";
  answer.status = response.status === "incomplete" ? "incomplete" : "completed";
  answer.why = text(response.incomplete_details?.reason);
  if (response.status === "failed") fail(answer, response.error);
}

/** @param {Answer} answer @param {Json} chunk */
function takeChunk(answer, chunk) {
  if (isObject(chunk.error)) {
    fail(answer, chunk.error);
    return;
  }
  if (answer.status === "waiting") answer.status = "running";
  answer.id = text(chunk.id) || answer.id;
  takeMembers(answer, chunk);
  if (Array.isArray(chunk.tool_calls)) answer.serverCalls = chunk.tool_calls;
  const choice = list(chunk.choices)[0];
  if (!isObject(choice)) return;
  const delta = isObject(choice.delta) ? choice.delta : {};
  answer.text += text(delta.content);
  answer.refusal += text(delta.refusal);
  answer.reasoning += text(delta.reasoning_content);
  for (const piece of list(delta.tool_calls)) takeCallPiece(answer, piece);
  finish(answer, choice.finish_reason);
}

/** @param {Answer} answer @param {Json} piece */
function takeCallPiece(answer, piece) {
  const index = Number(piece.index) || 0;
  const inner = isObject(piece.function) ? piece.function : isObject(piece.custom) ? piece.custom : {};
  const call = (answer.calls[index] ??= { name: "", arguments: "" });
  call.name ||= text(inner.name);
  call.arguments += text(inner.arguments ?? inner.input);
}

/** @param {Answer} answer @param {Json} body */
function takeCompletion(answer, body) {
  answer.id = text(body.id);
  const choice = list(body.choices)[0];
  const message = isObject(choice?.message) ? choice.message : {};
  answer.text = text(message.content);
  answer.refusal = text(message.refusal);
  answer.reasoning = text(message.reasoning_content);
  list(message.tool_calls).forEach((call, index) => takeCallPiece(answer, { ...call, index }));
  answer.artifacts = list(message.artifacts);
  takeMembers(answer, body);
  answer.serverCalls = list(body.tool_calls);
  finish(answer, choice?.finish_reason);
}

/** @param {Answer} answer @param {Json} body */
function takeMembers(answer, body) {
  if (isObject(body.analysis)) answer.analysis = body.analysis;
  if (isObject(body.mosaic)) answer.mosaic = body.mosaic;
  if (Array.isArray(body.artifacts)) answer.artifacts = body.artifacts;
  if (isObject(body.usage)) answer.usage = body.usage;
}

/** @param {Answer} answer @param {unknown} reason */
function finish(answer, reason) {
  if (typeof reason !== "string") return;
  const isWhole = reason === "stop" || reason === "tool_calls";
  answer.status = isWhole ? "completed" : "incomplete";
  answer.why = isWhole ? "" : reason === "length" ? "max_output_tokens" : reason;
}

/** @param {Answer} answer @param {unknown} error */
export function fail(answer, error) {
  const members = isObject(error) ? error : {};
  // In a stream of /responses, `type` has the code of ours, because OpenAI's list of codes does not contain it.
  const code = members.code === "server_error" ? text(members.type) : text(members.code);
  answer.status = "failed";
  answer.activity = "";
  answer.error = {
    message: text(members.message) || "The server gave no reason.",
    code: code || text(members.type),
    param: text(members.param) || null,
  };
}

/** @type {Record<string, string>} */
const ACTIVITIES = {
  web_search_call: "Searches",
  image_generation_call: "Makes an image",
  mcp_call: "Uses a tool",
  reasoning: "Thinks",
};

/** @param {Json} item */
function describeItem(item) {
  const activity = ACTIVITIES[text(item?.type)] ?? "";
  const subject = text(item?.action?.query) || text(item?.name);
  return activity && subject ? `${activity}: ${subject}` : activity;
}

/** @param {unknown} value @returns {string} */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {Json[]} */
function list(value) {
  return Array.isArray(value) ? value : [];
}

/**
 * Return what an answer cost, from the usage of either format.
 *
 * @param {Json | null} usage
 * @returns {{input: number, output: number, credits: number} | null}
 */
export function readCost(usage) {
  if (!usage) return null;
  const number = (/** @type {unknown} */ value) => (typeof value === "number" ? value : 0);
  return {
    input: number(usage.input_tokens ?? usage.prompt_tokens),
    output: number(usage.output_tokens ?? usage.completion_tokens),
    credits: number(usage.credits_used),
  };
}

/**
 * Return what to do about an error, in one sentence.
 *
 * @param {string} code
 * @returns {string}
 */
export function adviseOn(code) {
  return ADVICE[code] ?? "Send it again. If it fails again, give the request id to your operator.";
}

/** @type {Record<string, string>} */
const ADVICE = {
  unauthorized: "Sign in again in another tab, come back to this one and send. What you typed stays here.",
  forbidden: "Sign in with a key that may do this, or ask your operator for the right.",
  credits_exhausted: "This workspace has no credits left. An operator can grant more, or wait for next month's.",
  budget_exceeded: "The budget of the key or the workspace is spent. Raise it under Usage.",
  persona_not_found: "The persona has been deleted. Choose another one.",
  not_found: "Choose another model.",
  invalid_request: "Change the field that the message names, then send again.",
  validation_error: "Change the field that the message names, then send again.",
  request_too_large: "Send fewer or smaller images.",
  rate_limit_exceeded: "Wait for the time that the message names, then send again.",
  service_unavailable: "Wait some seconds, then send again. The model may still be starting.",
  upstream_error: "The model's server failed. Send it again, or ask your operator to look at it.",
  connection_lost: "The text up to here stays. Check that the server runs, then send again.",
};
