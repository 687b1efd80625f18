import assert from "node:assert/strict";
import { test } from "node:test";

import { writeCode } from "../../../src/mavera/console/static/playground-code.js";
import { EMPTY, buildRequests } from "../../../src/mavera/console/static/playground-form.js";

const URL = "http://127.0.0.1:8000/api/v1";
const LANGUAGES = ["python", "javascript", "curl"];

test("the key comes from the environment in every language", () => {
  const [request] = buildRequests({ ...EMPTY, question: "Why?" });
  for (const language of LANGUAGES) {
    const code = writeCode(language, request, URL);
    assert.match(code, /MAVERA_API_KEY/);
    assert.ok(!code.includes("mvra_"));
  }
});

test("nothing that cannot be seen is in the code as it is", () => {
  const unseen = "\u202e\u2066\u200b\ufeff\u2028\u0007\u{e0041}\ue000";
  const [request] = buildRequests({ ...EMPTY, question: `a${unseen}b` });
  for (const language of LANGUAGES) {
    const code = writeCode(language, request, URL);
    for (const character of unseen) assert.ok(!code.includes(character), `${language}: ${escape(character)}`);
  }
  assert.ok(writeCode("python", request, URL).includes("\\U000e0041"));
  assert.ok(writeCode("javascript", request, URL).includes("\\udb40\\udc41"));
});

test("letters of other scripts stay readable", () => {
  const [request] = buildRequests({ ...EMPTY, question: "Größe 価格 😀" });
  for (const language of LANGUAGES) assert.ok(writeCode(language, request, URL).includes("Größe 価格 😀"), language);
});

test("a member named __proto__ stays a member", () => {
  const request = { path: "/responses", who: [], body: { model: "m", input: "x", metadata: JSON.parse('{"__proto__": "y"}') } };
  assert.ok(writeCode("javascript", request, URL).includes('["__proto__"]: "y"'));
});
