import assert from "node:assert/strict";
import { test } from "node:test";

import {
  EventReader,
  adviseOn,
  makeAnswer,
  readCost,
  takeBody,
  takeEvent,
} from "../../../src/mavera/console/static/playground-events.js";

const STREAM = [
  ": still here\n\n",
  'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n',
  'data: {"type":"response.output_text.delta","delta":"Über "}\r\n\r\n',
  'data:{"type":"response.output_text.delta",\ndata: "delta":"😀"}\n\n',
  'data: {"type":"response.surprise","delta":5}\n\n',
].join("");

function read(...events) {
  const answer = makeAnswer();
  for (const event of events) takeEvent(answer, JSON.stringify(event));
  return answer;
}

test("events are the same however the stream is cut", () => {
  const whole = new EventReader().feed(STREAM);
  assert.equal(whole.length, 4);
  for (let size = 1; size < 40; size += 1) {
    const reader = new EventReader();
    const found = [];
    for (let at = 0; at < STREAM.length; at += size) found.push(...reader.feed(STREAM.slice(at, at + size)));
    assert.deepEqual(found, whole, `pieces of ${size}`);
  }
  const answer = makeAnswer();
  for (const data of whole) takeEvent(answer, data);
  assert.equal(answer.text, "Über 😀");
  assert.equal(answer.id, "resp_1");
  assert.equal(answer.status, "running");
});

test("the last event of a response has everything", () => {
  const response = {
    id: "resp_1",
    status: "completed",
    output: [
      { type: "message", content: [{ type: "output_text", text: "Yes." }] },
      { type: "function_call", name: "f", arguments: "{}" },
    ],
    analysis: { confidence: 7 },
    artifacts: [{ title: "a" }],
    server_tool_calls: [{ name: "tavily_search" }],
    usage: { input_tokens: 3, output_tokens: 2, credits_used: 4 },
  };
  const answer = read({ type: "response.output_text.delta", delta: "withdrawn" }, { type: "response.completed", response });
  assert.equal(answer.status, "completed");
  assert.equal(answer.text, "Yes.");
  assert.deepEqual(answer.calls, [{ name: "f", arguments: "{}" }]);
  assert.equal(answer.serverCalls.length, 1);
  assert.deepEqual(readCost(answer.usage), { input: 3, output: 2, credits: 4 });
  const plain = makeAnswer();
  takeBody(plain, { object: "response", ...response });
  assert.deepEqual({ ...plain, activity: "" }, answer);
});

test("a failed response keeps the text that arrived, and says what to do", () => {
  const answer = read(
    { type: "response.output_text.delta", delta: "Half" },
    {
      type: "response.failed",
      response: { status: "failed", output: [], error: { code: "server_error", type: "service_unavailable", message: "It stops." } },
    },
  );
  assert.equal(answer.status, "failed");
  assert.equal(answer.text, "Half");
  assert.deepEqual(answer.error, { message: "It stops.", code: "service_unavailable", param: null });
  assert.match(adviseOn("service_unavailable"), /^Wait/);
  assert.match(adviseOn("never heard of"), /request id/);
});

test("chunks of a completion add up, calls and last members included", () => {
  const chunk = (delta, more = {}) => ({ id: "chatcmpl_1", choices: [{ delta, finish_reason: null, ...more }] });
  const answer = read(
    chunk({ role: "assistant", content: "" }),
    chunk({ content: "Ye" }),
    chunk({ content: "s" }),
    chunk({ tool_calls: [{ index: 0, function: { name: "f", arguments: '{"a"' } }] }),
    chunk({ tool_calls: [{ index: 0, function: { arguments: ":1}" } }] }),
    { ...chunk({}, { finish_reason: "length" }), usage: { prompt_tokens: 1, completion_tokens: 2, credits_used: 3 }, analysis: {}, tool_calls: [{}] },
  );
  assert.equal(answer.text, "Yes");
  assert.deepEqual(answer.calls, [{ name: "f", arguments: '{"a":1}' }]);
  assert.equal(answer.status, "incomplete");
  assert.equal(answer.why, "max_output_tokens");
  assert.equal(answer.serverCalls.length, 1);
  assert.deepEqual(readCost(answer.usage), { input: 1, output: 2, credits: 3 });
});

test("an error inside a stream of chunks is the end", () => {
  const answer = read({ error: { message: "No credits.", type: "insufficient_credits", code: "credits_exhausted", param: null } });
  assert.equal(answer.status, "failed");
  assert.equal(answer.error.code, "credits_exhausted");
});

test("events of odd shapes change nothing", () => {
  const before = JSON.stringify(read({ type: "response.in_progress" }));
  for (const event of [{ type: "response.output_text.delta", delta: 5 }, { type: "response.created" }]) {
    assert.equal(JSON.stringify(read(event)), before);
  }
  assert.equal(takeEvent(makeAnswer(), "[DONE]"), true);
  assert.equal(takeEvent(makeAnswer(), "7"), false);
  read({ choices: [] }, { choices: [{}] }, { choices: [{ delta: { tool_calls: [{}] } }] });
});
