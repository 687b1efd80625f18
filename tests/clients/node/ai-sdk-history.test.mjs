// The default model of the Vercel AI SDK: it refers to earlier items by their ids from the second message on.
import assert from "node:assert/strict";
import test from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.MAVERA_BASE_URL, apiKey: process.env.MAVERA_API_KEY });

const weather = (cities) =>
  tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      cities.push(city);
      return `3 degrees in ${city}`;
    },
  });

test("two user turns with tools, streamed, and again on connections of their own", async () => {
  for (let round = 0; round < 4; round++) {
    const cities = [];
    const messages = [];
    const texts = [];
    for (const content of ["What is the weather in Oslo?", "And the weather in Rome?"]) {
      messages.push({ role: "user", content });
      const result = streamText({
        model: openai("mavera-1"),
        messages,
        tools: { get_weather: weather(cities) },
        stopWhen: stepCountIs(3),
        maxRetries: 0,
        headers: { connection: "close" },
      });
      for await (const part of result.fullStream) if (part.type === "error") throw part.error;
      texts.push(await result.text);
      messages.push(...(await result.response).messages);
    }

    assert.deepEqual(cities, ["Oslo", "Rome"]);
    assert.match(texts[0], /3 degrees in Oslo/);
    assert.match(texts[1], /3 degrees in Rome/);
  }
});
