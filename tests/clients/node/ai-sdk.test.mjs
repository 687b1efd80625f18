// The Vercel AI SDK: each test with the chat model and with the responses model of its OpenAI provider.
import assert from "node:assert/strict";
import test from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.MAVERA_BASE_URL, apiKey: process.env.MAVERA_API_KEY });
const Opinion = z.object({ score: z.number(), reasons: z.array(z.object({ text: z.string() })).min(1) });
const said = "This is a scripted answer to: Hello?";

const tools = (cities) => ({
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      cities.push(city);
      return "3 degrees";
    },
  }),
});
const withTools = { prompt: "What is the weather in Oslo?", stopWhen: stepCountIs(3) };

const models = { chat: openai.chat("mavera-1"), responses: openai.responses("mavera-1") };
for (const [door, model] of Object.entries(models)) {
  const each = (name, body) => test(`${door}: ${name}`, body);

  each("generateText gives text, usage and no warning", async () => {
    const result = await generateText({ model, prompt: "Hello?", maxRetries: 0 });

    assert.equal(result.text, said);
    assert.equal(result.finishReason, "stop");
    assert(result.usage.outputTokens > 0);
    assert.deepEqual(result.warnings ?? [], []);
  });

  each("streamText adds up to the same text", async () => {
    const result = streamText({ model, prompt: "Hello?", maxRetries: 0 });
    let text = "";
    for await (const delta of result.textStream) text += delta;

    assert.equal(text, said);
    assert.equal(await result.finishReason, "stop");
    assert((await result.usage).totalTokens > 0);
  });

  each("generateObject gives a value that fits", async () => {
    const { object } = await generateObject({ model, schema: Opinion, prompt: "Give it a 7.", maxRetries: 0 });

    assert.equal(object.score, 7);
  });

  each("streamObject ends with a value that fits", async () => {
    const result = streamObject({ model, schema: Opinion, prompt: "Give it a 7.", maxRetries: 0 });
    for await (const part of result.partialObjectStream) assert.equal(typeof part, "object");

    assert.equal((await result.object).score, 7);
  });

  each("generateText with an output schema gives a value that fits", async () => {
    const output = Output.object({ schema: Opinion });
    const result = await generateText({ model, output, prompt: "Give it a 7.", maxRetries: 0 });

    assert.equal(result.output.score, 7);
  });

  each("generateText calls a tool and goes on with what it gave", async () => {
    const cities = [];
    const result = await generateText({ model, tools: tools(cities), maxRetries: 0, ...withTools });

    assert.deepEqual(cities, ["Oslo"]);
    assert.match(result.text, /3 degrees/);
    assert.equal(result.steps.length, 2);
  });

  each("streamText calls a tool and goes on with what it gave", async () => {
    const cities = [];
    const result = streamText({ model, tools: tools(cities), maxRetries: 0, ...withTools });
    const types = new Set();
    for await (const part of result.fullStream) types.add(part.type);

    assert.deepEqual(cities, ["Oslo"]);
    assert.match(await result.text, /3 degrees/);
    assert(types.has("tool-input-delta") && types.has("tool-result"));
  });

  each("an error keeps its status", async () => {
    const failing = generateText({ model, prompt: "Hm?", temperature: 9, maxRetries: 0 });

    await assert.rejects(failing, (error) => error.statusCode === 422);
  });
}

test("a persona in the model's name or in a header is looked for, in both formats", async () => {
  const connection = { baseURL: process.env.MAVERA_BASE_URL, apiKey: process.env.MAVERA_API_KEY };
  const models = (persona) => {
    const named = createOpenAI({ ...connection, headers: { "X-Persona-Id": persona } });
    return [openai(`mavera-1/${persona}`), openai.chat(`mavera-1/${persona}`), named("mavera-1")];
  };
  for (const model of models("gen-z-consumer")) {
    assert.equal((await generateText({ model, prompt: "Hello?", maxRetries: 0 })).text, said);
  }
  for (const model of models("gen-q-consumer")) {
    const failing = generateText({ model, prompt: "Hello?", maxRetries: 0 });
    await assert.rejects(failing, (error) => error.statusCode === 404);
  }
});
