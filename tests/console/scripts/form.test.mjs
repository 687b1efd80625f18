import assert from "node:assert/strict";
import { test } from "node:test";

import {
  EMPTY,
  FormError,
  buildRequests,
  completeForm,
  decodeForm,
  encodeForm,
  readTools,
  reduceForm,
} from "../../../src/mavera/console/static/playground-form.js";

const FULL = {
  ...EMPTY,
  format: "chat",
  model: "mavera-1",
  personas: ["cone", "ctwo"],
  instructions: "Be brief.",
  question: "“Ja” 😀 \u202e \n `code`",
  images: [{ name: "a.png", url: "data:image/png;base64,AAAA" }],
  temperature: 0,
  topP: 0.5,
  maxTokens: 10,
  seed: -7,
  effort: "high",
  verbosity: "low",
  stream: false,
  tools: '[{"type": "function", "name": "f", "parameters": {"type": "object"}}]',
  serverTools: ["web_search"],
};

test("a link brings the whole form back", () => {
  assert.deepEqual(decodeForm(encodeForm(FULL)), FULL);
  assert.deepEqual(decodeForm(encodeForm(EMPTY)), EMPTY);
  assert.match(encodeForm(FULL), /^[A-Za-z0-9_-]*$/);
});

test("a link keeps only what differs from an empty form", () => {
  assert.deepEqual(reduceForm({ ...EMPTY, question: "Why?" }), { question: "Why?" });
});

test("a broken link is no form", () => {
  for (const text of ["", "%%%", "e30x", btoa("[1]"), btoa("null"), btoa("\xff\xfe{}")]) {
    assert.equal(decodeForm(text), null, text);
  }
});

test("members of another type, and unknown ones, are left out", () => {
  const given = { question: 5, personas: ["a", 2], format: "soap", temperature: "hot", stream: 1, extra: true };
  assert.deepEqual(completeForm(given), EMPTY);
  assert.deepEqual(completeForm(null), EMPTY);
});

test("a link cannot bring an image with another scheme", () => {
  for (const url of ["javascript:alert(1)", "data:text/html,x", "/etc/passwd", "blob:x"]) {
    assert.deepEqual(completeForm({ images: [{ name: "a", url }] }).images, []);
  }
});

test("one persona is one request, several are one request each, and a mosaic is one", () => {
  const ask = (members) => buildRequests({ ...EMPTY, question: "Why?", ...members });
  assert.deepEqual(ask({}).map((one) => one.body.persona_id), [undefined]);
  assert.deepEqual(ask({ personas: ["a"] }).map((one) => one.body.persona_id), ["a"]);
  assert.deepEqual(ask({ personas: ["a", "b", "c"] }).map((one) => one.body.persona_id), ["a", "b", "c"]);
  const [mosaic, ...others] = ask({ personas: ["a", "b"], mosaic: true });
  assert.deepEqual(others, []);
  assert.deepEqual(mosaic.body.persona_ids, ["a", "b"]);
  assert.equal(mosaic.body.mosaic_mode, true);
});

test("the two formats say the same in their own words", () => {
  const form = { ...FULL, personas: ["a"], schema: '{"type": "object"}' };
  const [chat] = buildRequests(form);
  assert.equal(chat.path, "/chat/completions");
  assert.deepEqual(chat.body.messages[0], { role: "system", content: "Be brief." });
  assert.equal(chat.body.messages[1].content[1].image_url.url, FULL.images[0].url);
  assert.equal(chat.body.tools[0].function.name, "f");
  assert.equal(chat.body.response_format.json_schema.name, "answer");
  assert.equal(chat.body.max_completion_tokens, 10);
  const [responses] = buildRequests({ ...form, format: "responses" });
  assert.equal(responses.path, "/responses");
  assert.equal(responses.body.instructions, "Be brief.");
  assert.equal(responses.body.input[0].content[1].image_url, FULL.images[0].url);
  assert.equal(responses.body.tools[0].name, "f");
  assert.deepEqual(responses.body.tools[1], { type: "web_search" });
  assert.equal(responses.body.text.format.name, "answer");
  assert.equal(responses.body.max_output_tokens, 10);
  assert.equal(responses.body.temperature, 0);
});

test("a form that cannot be sent names its field", () => {
  const bad = {
    question: { question: " " },
    mosaic: { mosaic: true, personas: ["a"] },
    tools: { tools: "{" },
    schema: { schema: "[]" },
    analysis: { schema: "{}", analysis: true },
    temperature: { temperature: 3 },
    maxTokens: { maxTokens: 1.5 },
    personas: { personas: Array.from({ length: 11 }, (_, n) => `p${n}`) },
  };
  for (const [field, members] of Object.entries(bad)) {
    assert.throws(
      () => buildRequests({ ...EMPTY, question: "Why?", ...members }),
      (error) => error instanceof FormError && error.field === field && error.message.endsWith("."),
      field,
    );
  }
});

test("tools are read in the form of either endpoint", () => {
  const flat = { name: "f", parameters: {} };
  assert.deepEqual(readTools(JSON.stringify([{ type: "function", ...flat }])), [flat]);
  assert.deepEqual(readTools(JSON.stringify({ type: "function", function: flat })), [flat]);
});

test("half a character is replaced, because UTF-8 cannot carry it", () => {
  const [request] = buildRequests({ ...EMPTY, question: "a\ud83d b\ude00 😀" });
  assert.equal(request.body.input, "a\ufffd b\ufffd 😀");
});
