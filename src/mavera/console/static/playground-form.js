/**
 * The form of the playground: its members, its link, and the request that it makes.
 *
 *     Form → buildRequests(form)   one request for each answer: {path, body, who}
 *          → encodeForm(form)      the text for a link's fragment, without members that have their default
 *     text → decodeForm(text)      a Form, whatever the text is; nothing is sent
 */

/**
 * @typedef {object} Picture
 * @property {string} name
 * @property {string} url  an http(s) address or a data URL
 */

/**
 * @typedef {object} Form
 * @property {"responses" | "chat"} format
 * @property {string} model
 * @property {string[]} personas  ids; empty means an answer of nobody in particular
 * @property {boolean} mosaic  one answer of all personas, instead of one for each
 * @property {string} instructions
 * @property {string} question
 * @property {Picture[]} images
 * @property {number | null} temperature
 * @property {number | null} topP
 * @property {number | null} maxTokens
 * @property {number | null} seed
 * @property {string} effort  empty means the default
 * @property {string} verbosity
 * @property {boolean} analysis
 * @property {boolean} canvas
 * @property {boolean} stream
 * @property {string} schema  a JSON Schema as text, or empty
 * @property {string} tools  a JSON list of function tools as text, or empty
 * @property {string[]} serverTools  the `type` of each server tool that is switched on, or `mcp:` and a label
 */

/** @typedef {{path: string, body: Record<string, unknown>, who: string[]}} ApiRequest */

/** @type {Readonly<Form>} */
export const EMPTY = Object.freeze({
  format: "responses",
  model: "mavera-1",
  personas: [],
  mosaic: false,
  instructions: "",
  question: "",
  images: [],
  temperature: null,
  topP: null,
  maxTokens: null,
  seed: null,
  effort: "",
  verbosity: "",
  analysis: false,
  canvas: false,
  stream: true,
  schema: "",
  tools: "",
  serverTools: [],
});

/** The first page keeps its question under this name in the tab, for the playground to send. */
export const ASKED = "mavera-asked";
/** The most personas that answer one question. A mosaic takes as many. */
export const MOST_PERSONAS = 10;
export const MOST_IMAGES = 10;
/** A longer fragment is kept as a row of the workspace: chats and mail programs cut long links. */
export const LONGEST_FRAGMENT = 2000;

/** A part of the form that cannot be sent as it is. `field` is the name of its control. */
export class FormError extends Error {
  /** @param {string} field @param {string} message */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * Return the requests of a form, one for each answer.
 *
 * @param {Form} form
 * @returns {ApiRequest[]}
 * @throws {FormError} if a field cannot be sent
 */
export function buildRequests(form) {
  checkForm(form);
  const alone = form.mosaic || form.personas.length < 2;
  const groups = alone ? [form.personas] : form.personas.map((one) => [one]);
  return groups.map((who) => buildRequest({ ...form, personas: who }));
}

/** @param {Form} form @returns {ApiRequest} */
function buildRequest(form) {
  const isChat = form.format === "chat";
  return {
    path: isChat ? "/chat/completions" : "/responses",
    body: dropEmpty({
      model: form.model,
      ...buildWho(form),
      ...(isChat ? buildChat(form) : buildResponses(form)),
      temperature: form.temperature,
      top_p: form.topP,
      seed: form.seed,
      analysis_mode: form.analysis || null,
      canvas_mode: form.canvas || null,
      stream: form.stream || null,
    }),
    who: form.personas,
  };
}

/** @param {Form} form */
function buildWho(form) {
  if (form.mosaic) return { mosaic_mode: true, persona_ids: form.personas };
  return { persona_id: form.personas[0] ?? null };
}

/** @param {Form} form */
function buildResponses(form) {
  const schema = readSchema(form.schema);
  const parts = form.images.map((image) => ({ type: "input_image", image_url: image.url }));
  const question = clean(form.question);
  return {
    input: parts.length
      ? [{ role: "user", content: [{ type: "input_text", text: question }, ...parts] }]
      : question,
    instructions: clean(form.instructions) || null,
    max_output_tokens: form.maxTokens,
    reasoning: form.effort ? { effort: form.effort } : null,
    text:
      schema || form.verbosity
        ? dropEmpty({
            format: schema && { type: "json_schema", name: "answer", schema, strict: true },
            verbosity: form.verbosity || null,
          })
        : null,
    tools: buildTools(form, (tool) => ({ type: "function", ...tool })),
  };
}

/** @param {Form} form */
function buildChat(form) {
  const schema = readSchema(form.schema);
  const parts = form.images.map((image) => ({ type: "image_url", image_url: { url: image.url } }));
  const question = clean(form.question);
  const instructions = clean(form.instructions);
  return {
    messages: [
      ...(instructions ? [{ role: "system", content: instructions }] : []),
      { role: "user", content: parts.length ? [{ type: "text", text: question }, ...parts] : question },
    ],
    max_completion_tokens: form.maxTokens,
    reasoning_effort: form.effort || null,
    verbosity: form.verbosity || null,
    response_format: schema && {
      type: "json_schema",
      json_schema: { name: "answer", schema, strict: true },
    },
    tools: buildTools(form, (tool) => ({ type: "function", function: tool })),
  };
}

/**
 * @param {Form} form
 * @param {(tool: Record<string, unknown>) => Record<string, unknown>} wrap
 */
function buildTools(form, wrap) {
  const tools = [...readTools(form.tools).map(wrap), ...form.serverTools.map(nameServerTool)];
  return tools.length ? tools : null;
}

/** @param {string} type */
function nameServerTool(type) {
  return type.startsWith("mcp:") ? { type: "mcp", server_label: type.slice(4) } : { type };
}

/** @param {Form} form */
function checkForm(form) {
  if (!form.question.trim()) throw new FormError("question", "Type a question first.");
  if (form.mosaic && form.personas.length < 2) {
    throw new FormError("mosaic", "A mosaic blends two to ten personas. Choose another one.");
  }
  if (form.personas.length > MOST_PERSONAS) {
    throw new FormError("personas", `At most ${MOST_PERSONAS} personas answer at a time.`);
  }
  if (form.mosaic && (readTools(form.tools).length || form.serverTools.length)) {
    throw new FormError("tools", "A mosaic calls no tools. Remove them, or ask each persona.");
  }
  if (readSchema(form.schema) && form.analysis) {
    throw new FormError("analysis", "An answer in JSON has no analysis. Switch one of the two off.");
  }
  checkNumber("temperature", form.temperature, 0, 2, false);
  checkNumber("topP", form.topP, 0, 1, false);
  checkNumber("maxTokens", form.maxTokens, 1, 2 ** 31 - 1, true);
  checkNumber("seed", form.seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true);
}

/** @type {Record<string, string>} */
const NAMES = { temperature: "Temperature", topP: "Top p", maxTokens: "The token limit", seed: "The seed" };

/** @param {string} field @param {number | null} value @param {number} least @param {number} most @param {boolean} whole */
function checkNumber(field, value, least, most, whole) {
  if (value === null) return;
  if (!(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
    const kind = whole ? "a whole number" : "a number";
    throw new FormError(field, `${NAMES[field]} is ${kind} from ${least} to ${most}.`);
  }
}

/**
 * Return the schema of a text, or null if the text is empty.
 *
 * @param {string} text
 * @returns {Record<string, unknown> | null}
 */
export function readSchema(text) {
  if (!text.trim()) return null;
  const schema = parse(text, "schema");
  if (!isObject(schema)) throw new FormError("schema", 'A schema is a JSON object, such as {"type": "object"}.');
  return schema;
}

/**
 * Return function tools as {name, description, parameters, …}, from the form of either endpoint.
 *
 * @param {string} text
 * @returns {Record<string, unknown>[]}
 */
export function readTools(text) {
  if (!text.trim()) return [];
  const given = parse(text, "tools");
  const list = Array.isArray(given) ? given : [given];
  return list.map((tool) => {
    const inner = isObject(tool) && isObject(tool.function) ? tool.function : tool;
    if (!isObject(inner) || typeof inner.name !== "string") {
      throw new FormError("tools", 'Each tool is a JSON object with a "name" and "parameters".');
    }
    const { type: _, ...members } = inner;
    return members;
  });
}

/** @param {string} text @param {string} field @returns {unknown} */
function parse(text, field) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FormError(field, `This is not JSON: ${error instanceof Error ? error.message : error}.`);
  }
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {Record<string, unknown>} members */
function dropEmpty(members) {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null && value !== undefined));
}

/**
 * Return `text` without halves of characters, which UTF-8 cannot carry.
 *
 * @param {string} text
 */
function clean(text) {
  return text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD");
}

/**
 * Return the members of a form that differ from an empty form.
 *
 * @param {Form} form
 * @returns {Partial<Form>}
 */
export function reduceForm(form) {
  const kept = Object.entries(form).filter(
    ([name, value]) => JSON.stringify(value) !== JSON.stringify(EMPTY[/** @type {keyof Form} */ (name)]),
  );
  return Object.fromEntries(kept);
}

/**
 * Return a whole form from members of any origin. Members that do not fit keep their default.
 *
 * @param {unknown} given
 * @returns {Form}
 */
export function completeForm(given) {
  const members = isObject(given) ? given : {};
  /** @type {Record<string, unknown>} */
  const form = { ...EMPTY };
  for (const [name, usual] of Object.entries(EMPTY)) {
    const value = members[name];
    if (fits(name, value, usual)) form[name] = value;
  }
  return /** @type {Form} */ (/** @type {unknown} */ (form));
}

/** @param {string} name @param {unknown} value @param {unknown} usual */
function fits(name, value, usual) {
  if (name === "format") return value === "responses" || value === "chat";
  if (name === "images") return Array.isArray(value) && value.length <= MOST_IMAGES && value.every(isPicture);
  if (Array.isArray(usual)) return Array.isArray(value) && value.every((one) => typeof one === "string");
  if (usual === null) return typeof value === "number" && Number.isFinite(value);
  return typeof value === typeof usual;
}

/** @param {unknown} value */
function isPicture(value) {
  return (
    isObject(value) &&
    typeof value.name === "string" &&
    typeof value.url === "string" &&
    /^(https?:|data:image\/)/i.test(value.url)
  );
}

/** @param {Form} form */
export function encodeForm(form) {
  const bytes = new TextEncoder().encode(JSON.stringify(reduceForm(form)));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/**
 * Return the form of a text that `encodeForm` made, or null for any other text.
 *
 * @param {string} text
 */
export function decodeForm(text) {
  try {
    const raw = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
    const given = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return isObject(given) ? completeForm(given) : null;
  } catch {
    return null;
  }
}
