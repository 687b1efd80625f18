// OpenAI's own client for JavaScript, through both doors.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const model = "mavera-1";
const client = new OpenAI({
  baseURL: process.env.MAVERA_BASE_URL,
  apiKey: process.env.MAVERA_API_KEY,
  maxRetries: 0,
});
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const flat = { type: "function", name: "get_weather", parameters, strict: true };
const nested = { type: "function", function: { name: "get_weather", parameters, strict: true } };
const asked = "What is the weather in Oslo?";
const Opinion = z.object({ score: z.number(), reasons: z.array(z.object({ text: z.string() })).min(1) });

test("a response has text and credits", async () => {
  const response = await client.responses.create({ model, input: "Hello?" });

  assert.equal(response.output_text, "This is a scripted answer to: Hello?");
  assert.equal(response.status, "completed");
  assert.equal(typeof response.usage.credits_used, "number");
});

test("the stream helper of responses ends with the final response", async () => {
  let said = "";
  const stream = client.responses
    .stream({ model, input: "Hello?" })
    .on("response.output_text.delta", (event) => (said += event.delta));

  assert.equal((await stream.finalResponse()).output_text, said);
  assert.equal(said, "This is a scripted answer to: Hello?");
});

test("responses.parse gives a value that fits", async () => {
  const response = await client.responses.parse({
    model,
    input: "Give it a 7.",
    text: { format: zodTextFormat(Opinion, "opinion") },
  });

  assert.equal(Opinion.parse(response.output_parsed).score, 7);
});

test("a function of responses is called and its output told", async () => {
  const first = await client.responses.create({ model, input: asked, tools: [flat] });
  const call = first.output.find((item) => item.type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), { city: "Oslo" });

  const output = { type: "function_call_output", call_id: call.call_id, output: "3 degrees" };
  const second = await client.responses.create({
    model,
    input: [{ role: "user", content: asked }, ...first.output, output],
    tools: [flat],
  });
  assert.equal(second.output_text, "It gave 3 degrees");
});

test("a chat completion has text", async () => {
  const completion = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Hello?" }],
  });

  assert.equal(completion.choices[0].message.content, "This is a scripted answer to: Hello?");
});

test("the stream helper of chat adds its chunks up", async () => {
  const stream = client.chat.completions.stream({ model, messages: [{ role: "user", content: "Hello?" }] });

  assert.equal(await stream.finalContent(), "This is a scripted answer to: Hello?");
});

test("chat.completions.parse gives a value that fits", async () => {
  const completion = await client.chat.completions.parse({
    model,
    messages: [{ role: "user", content: "Give it a 7." }],
    response_format: zodResponseFormat(Opinion, "opinion"),
  });

  assert.equal(Opinion.parse(completion.choices[0].message.parsed).score, 7);
});

test("runTools calls a function of chat and tells its output", async () => {
  const cities = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: [{ role: "user", content: asked }],
    stream: true,
    tools: [
      {
        type: "function",
        function: {
          ...nested.function,
          parse: JSON.parse,
          function: ({ city }) => {
            cities.push(city);
            return "3 degrees";
          },
        },
      },
    ],
  });

  assert.equal(await runner.finalContent(), "It gave 3 degrees");
  assert.deepEqual(cities, ["Oslo"]);
});

test("an error is OpenAI's class for its status, with code and param", async () => {
  await assert.rejects(client.responses.create({ model, input: "Hm?", temperature: 9 }), (error) => {
    assert(error instanceof OpenAI.UnprocessableEntityError);
    assert.equal(error.code, "validation_error");
    assert.equal(error.param, "temperature");
    return true;
  });
});

test("models are listed", async () => {
  const ids = [];
  for await (const listed of client.models.list()) ids.push(listed.id);

  assert.deepEqual(ids, [model]);
});
