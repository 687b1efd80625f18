/**
 * Write a request as a program that sends it: Python, JavaScript or curl.
 *
 * Each program runs as it is shown, with the key from MAVERA_API_KEY. Every text of the request is written as a
 * literal of its language. Control, direction and other characters that cannot be seen are written as escapes,
 * so that what is read is what runs.
 */

/** @typedef {import("./playground-form.js").ApiRequest} ApiRequest */
/** @typedef {"python" | "javascript" | "curl"} Language */

/**
 * @param {Language} language
 * @param {ApiRequest} request
 * @param {string} baseUrl  the address of the API with its prefix, such as http://127.0.0.1:8000/api/v1
 */
export function writeCode(language, request, baseUrl) {
  if (language === "python") return writePython(request, baseUrl);
  return language === "javascript" ? writeJavaScript(request, baseUrl) : writeCurl(request, baseUrl);
}

// Members that the methods of the openai package take by name. All others go into extra_body.
const KNOWN = {
  "/responses": ["model", "input", "instructions", "max_output_tokens", "reasoning", "text", "tools", "temperature", "top_p", "stream"],
  "/chat/completions": ["model", "messages", "max_completion_tokens", "reasoning_effort", "verbosity", "response_format", "tools", "temperature", "top_p", "seed", "stream"],
};

/** @param {ApiRequest} request @param {string} baseUrl */
function writePython({ path, body }, baseUrl) {
  const isChat = path === "/chat/completions";
  const known = isChat ? KNOWN["/chat/completions"] : KNOWN["/responses"];
  const named = Object.entries(body).filter(([name]) => known.includes(name));
  const extra = Object.entries(body).filter(([name]) => !known.includes(name));
  const lines = named.map(([name, value]) => `    ${name}=${write(value, PYTHON, 1)},`);
  if (extra.length) lines.push(`    extra_body=${write(Object.fromEntries(extra), PYTHON, 1)},`);
  const method = isChat ? "client.chat.completions.create" : "client.responses.create";
  return `# pip install openai
import os

from openai import OpenAI

client = OpenAI(
    base_url=${quoteForPython(baseUrl)},
    api_key=os.environ["MAVERA_API_KEY"],
)

${body.stream ? "stream" : "answer"} = ${method}(
${lines.join("\n")}
)
${isChat ? readChatInPython(body) : readResponseInPython(body)}`;
}

/** @param {Record<string, unknown>} body */
function readResponseInPython(body) {
  const analysis = wantsAnalysis(body) ? "\n{indent}print({answer}.analysis)" : "";
  const fill = (/** @type {string} */ answer, /** @type {string} */ indent) =>
    analysis.replace("{indent}", indent).replace("{answer}", answer);
  if (!body.stream) return `print(answer.output_text or answer.output)${fill("answer", "")}\n`;
  return `for event in stream:
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
    elif event.type in ("response.completed", "response.incomplete"):
        print()
        for item in event.response.output:
            if item.type == "function_call":
                print(item.name, item.arguments)${fill("event.response", "        ")}
    elif event.type == "response.failed":
        raise SystemExit(event.response.error.message)
`;
}

/** @param {Record<string, unknown>} body */
function readChatInPython(body) {
  const analysis = wantsAnalysis(body);
  if (!body.stream) {
    return `message = answer.choices[0].message
print(message.content or message.tool_calls)${analysis ? "\nprint(answer.analysis)" : ""}\n`;
  }
  return `for chunk in stream:
    if not chunk.choices:
        continue
    delta = chunk.choices[0].delta
    if delta.content:
        print(delta.content, end="", flush=True)
    for call in delta.tool_calls or []:
        print(call.function.name or "", call.function.arguments or "", end="")
    if chunk.choices[0].finish_reason:
        print()${analysis ? "\n        print(chunk.analysis)" : ""}
`;
}

/** @param {Record<string, unknown>} body */
function wantsAnalysis(body) {
  return body.analysis_mode === true || (body.mosaic_mode === true && !body.response_format && !hasFormat(body));
}

/** @param {Record<string, unknown>} body */
function hasFormat(body) {
  return Boolean(/** @type {{format?: unknown} | undefined} */ (body.text)?.format);
}

/** @param {ApiRequest} request @param {string} baseUrl */
function writeJavaScript({ path, body }, baseUrl) {
  return `// Save it as ask.mjs and run it with Node 18 or newer: node ask.mjs
const response = await fetch(${quoteForJavaScript(baseUrl + path)}, {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.MAVERA_API_KEY}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${write(body, JAVASCRIPT, 1)}),
});
if (!response.ok) throw new Error(await response.text());

${body.stream ? readStreamInJavaScript(path) : readBodyInJavaScript(path, body)}`;
}

/** @param {string} path */
function readStreamInJavaScript(path) {
  const take =
    path === "/responses"
      ? `  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
  if (event.type === "response.failed") throw new Error(event.response.error.message);
  if (event.type === "response.completed") {
    console.log();
    for (const item of event.response.output) {
      if (item.type === "function_call") console.log(item.name, item.arguments);
    }
    if (event.response.analysis) console.log(event.response.analysis);
  }`
      : `  if (event.error) throw new Error(event.error.message);
  const choice = event.choices[0];
  process.stdout.write(choice?.delta.content ?? "");
  for (const call of choice?.delta.tool_calls ?? []) {
    process.stdout.write(\`\${call.function.name ?? ""} \${call.function.arguments ?? ""}\`);
  }
  if (choice?.finish_reason) console.log();
  if (event.analysis) console.log(event.analysis);`;
  return `let rest = "";
for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + piece).split("\\n\\n");
  rest = events.pop();
  for (const text of events) takeEvent(text);
}

function takeEvent(text) {
  const data = text.split("\\n").find((line) => line.startsWith("data: "))?.slice(6);
  if (!data || data === "[DONE]") return;
  const event = JSON.parse(data);
${take}
}
`;
}

/** @param {string} path @param {Record<string, unknown>} body */
function readBodyInJavaScript(path, body) {
  const analysis = wantsAnalysis(body) ? "\nconsole.log(answer.analysis);" : "";
  if (path === "/chat/completions") {
    return `const answer = await response.json();
const message = answer.choices[0].message;
console.log(message.content ?? message.tool_calls);${analysis}\n`;
  }
  return `const answer = await response.json();
for (const item of answer.output) {
  if (item.type === "message") console.log(item.content.map((part) => part.text ?? part.refusal).join(""));
  if (item.type === "function_call") console.log(item.name, item.arguments);
}${analysis}\n`;
}

/** @param {ApiRequest} request @param {string} baseUrl */
function writeCurl({ path, body }, baseUrl) {
  // JSON has no line of its own that reads JSON, so the text ends where it should.
  return `curl ${body.stream ? "--no-buffer " : ""}--fail-with-body --silent --show-error ${quoteForShell(baseUrl + path)} \\
  -H "Authorization: Bearer $MAVERA_API_KEY" \\
  -H 'Content-Type: application/json' \\
  --data-binary @- <<'JSON'
${toJson(body)}
JSON
`;
}

/** @param {string} text */
function quoteForShell(text) {
  return /^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// Control and format characters (direction marks among them), line separators, and unassigned or private ones.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;

/** @param {unknown} value */
function toJson(value) {
  return JSON.stringify(value, null, 2).replace(UNSEEN, (one) => (one === "\n" ? one : escapeUnits(one)));
}

/** Write the UTF-16 units of a character as escapes, as JSON and JavaScript do. @param {string} character */
function escapeUnits(character) {
  return [...Array(character.length).keys()].map((at) => `\\u${toHex(character.charCodeAt(at), 4)}`).join("");
}

/** @param {number} number @param {number} digits */
function toHex(number, digits) {
  return number.toString(16).padStart(digits, "0");
}

/**
 * How a language writes values.
 *
 * @typedef {object} Literals
 * @property {string} indent
 * @property {(value: string | number | boolean | null) => string} single
 * @property {(name: string) => string} name  the name of a member, before its colon
 */

/** @type {Literals} */
const PYTHON = {
  indent: "    ",
  single: (value) => {
    if (value === null) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    return typeof value === "string" ? quoteForPython(value) : String(value);
  },
  name: quoteForPython,
};

/** @type {Literals} */
const JAVASCRIPT = {
  indent: "  ",
  single: (value) => (typeof value === "string" ? quoteForJavaScript(value) : String(value)),
  name: (name) => {
    if (name === "__proto__") return '["__proto__"]'; // without brackets, it would set the prototype
    return /^[A-Za-z_]\w*$/.test(name) ? name : quoteForJavaScript(name);
  },
};

/** @param {unknown} value @param {Literals} literals @param {number} depth @returns {string} */
function write(value, literals, depth) {
  if (typeof value !== "object" || value === null) {
    return literals.single(/** @type {string | number | boolean | null} */ (value ?? null));
  }
  const inner = literals.indent.repeat(depth + 1);
  const lines = Array.isArray(value)
    ? value.map((one) => `${inner}${write(one, literals, depth + 1)},`)
    : Object.entries(value).map(([name, one]) => `${inner}${literals.name(name)}: ${write(one, literals, depth + 1)},`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return lines.length ? `${open}\n${lines.join("\n")}\n${literals.indent.repeat(depth)}${close}` : open + close;
}

/** @param {string} text */
function quoteForJavaScript(text) {
  return JSON.stringify(text).replace(UNSEEN, escapeUnits);
}

/** @param {string} text */
function quoteForPython(text) {
  // A JSON string is a Python string, except for characters beyond 16 bits that JSON writes as two escapes.
  return JSON.stringify(text).replace(UNSEEN, (character) => {
    const number = /** @type {number} */ (character.codePointAt(0));
    return number > 0xffff ? `\\U${toHex(number, 8)}` : `\\u${toHex(number, 4)}`;
  });
}
