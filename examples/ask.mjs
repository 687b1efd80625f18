import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.MAVERA_BASE_URL ?? "http://127.0.0.1:8000/api/v1",
  apiKey: process.env.MAVERA_API_KEY,
});

const response = await client.responses.create({
  model: "mavera-1",
  input: "Would you pay 20% more for a jacket made of recycled fabric?",
  // @ts-expect-error: OpenAI's types do not know persona_id, the server does.
  persona_id: "cmwqagwqp44qoe5wkq8j5u15r", // Gen Z Consumer
});

console.log(response.output_text);
