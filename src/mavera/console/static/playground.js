/**
 * The page of the playground: its form, its personas, its answers.
 *
 * The form is kept in this tab while it is filled in, so that a reload or a session that ends costs no typing. A
 * form from a link or from the history is only filled in. Nothing is sent before somebody sends it.
 */

import { copyText } from "./copy.js";
import { Card, make } from "./playground-card.js";
import { writeCode } from "./playground-code.js";
import { readCost } from "./playground-events.js";
import {
  ASKED,
  EMPTY,
  FormError,
  LONGEST_FRAGMENT,
  MOST_IMAGES,
  MOST_PERSONAS,
  buildRequests,
  completeForm,
  decodeForm,
  encodeForm,
  reduceForm,
} from "./playground-form.js";
import { Lanes } from "./playground-lanes.js";
import { run } from "./playground-run.js";
import { showTimes } from "./time.js";

/** @typedef {import("./playground-form.js").Form} Form */
/** @typedef {import("./playground-run.js").Outcome} Outcome */

/** A page reads at most three answers at a time; see playground-lanes.js. */
const MOST_STREAMS = 3;
const LARGEST_IMAGE = 8 * 1024 * 1024;
const KEPT = `mavera-playground:${location.pathname.replace(/\/playground.*/, "")}`;

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`The page has no ${id}.`);
  return element;
}

const page = {
  form: find("playground", HTMLFormElement),
  question: find("question", HTMLTextAreaElement),
  chosen: find("chosen", HTMLElement),
  together: find("together", HTMLElement),
  pictures: find("pictures", HTMLElement),
  addImage: find("add-image", HTMLInputElement),
  send: find("send", HTMLButtonElement),
  stop: find("stop", HTMLButtonElement),
  answers: find("answers", HTMLElement),
  state: find("state", HTMLElement),
  notice: find("notice", HTMLElement),
  picker: find("picker", HTMLDialogElement),
  search: find("search", HTMLInputElement),
  found: find("found", HTMLElement),
  picked: find("picked", HTMLElement),
  code: find("code", HTMLDialogElement),
  codeText: find("code-text", HTMLElement),
  codeWho: find("code-who", HTMLElement),
};
const place = {
  base: document.documentElement.dataset.base ?? "",
  workspace: document.documentElement.dataset.workspace ?? "",
};
const lanes = new Lanes(MOST_STREAMS);

/** The portraits that the page has seen, by the id of their persona. @type {Map<string, HTMLElement>} */
const portraits = new Map();
/** @type {string[]} */
let chosen = [];
/** @type {import("./playground-form.js").Picture[]} */
let pictures = [];
/** Stops of the answers that have not ended. @type {Set<() => void>} */
const stops = new Set();
let runs = 0;

/* Talk to the console */

/**
 * Post to the console, and return the body of its answer, or null if there is none: then a notice says why.
 *
 * @param {string | undefined} address
 * @param {unknown} body
 */
async function ask(address, body) {
  try {
    const response = await fetch(address ?? "", {
      method: "POST",
      headers: { "HX-Request": "true", "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
    });
    if (response.ok) return await response.text();
    if (response.status === 401) showEnded();
    else showNotice(readText(await response.text()) || `The server answered with status ${response.status}.`);
  } catch {
    showNotice("The server could not be reached. What you typed stays here.");
  }
  return null;
}

/** @param {string} html */
function readText(html) {
  return new DOMParser().parseFromString(html, "text/html").body.textContent?.trim() ?? "";
}

/** @param {string} text */
function showNotice(text) {
  page.notice.className = "notice bad";
  page.notice.textContent = text;
  page.notice.hidden = !text;
}

function showEnded() {
  const link = /** @type {HTMLAnchorElement} */ (make("a", "", "Sign in in another tab"));
  link.href = page.form.dataset.signIn ?? "";
  link.target = "_blank";
  page.notice.replaceChildren("Your session has ended. ", link, ", then go on here. What you typed and what arrived stay.");
  page.notice.hidden = false;
}

/* The form */

/** @param {string} name */
const control = (name) => /** @type {HTMLInputElement} */ (page.form.elements.namedItem(name));

/** @param {string} name */
function readNumber(name) {
  const field = control(name);
  if (field.validity.badInput) throw new FormError(name, "This is not a number.");
  return field.value.trim() === "" ? null : Number(field.value);
}

/** @returns {Form} */
function readForm() {
  const data = new FormData(page.form);
  const text = (/** @type {string} */ name) => String(data.get(name) ?? "");
  return {
    format: text("format") === "chat" ? "chat" : "responses",
    model: text("model") || EMPTY.model,
    personas: chosen,
    mosaic: chosen.length > 1 && text("mosaic") === "on",
    instructions: text("instructions"),
    question: text("question"),
    images: pictures,
    temperature: readNumber("temperature"),
    topP: readNumber("topP"),
    maxTokens: readNumber("maxTokens"),
    seed: readNumber("seed"),
    effort: text("effort"),
    verbosity: text("verbosity"),
    analysis: data.has("analysis"),
    canvas: data.has("canvas"),
    stream: data.has("stream"),
    schema: text("schema"),
    tools: text("tools"),
    serverTools: data.getAll("serverTools").map(String),
  };
}

/** @param {Form} form */
async function writeForm(form) {
  for (const [name, value] of Object.entries(form)) {
    if (name === "personas" || name === "images") continue;
    const found = page.form.elements.namedItem(name);
    const fields = found instanceof RadioNodeList ? [...found] : found ? [found] : [];
    for (const field of fields) writeField(field, value);
  }
  pictures = [...form.images];
  showPictures();
  await choose(form.personas);
  for (const group of page.form.querySelectorAll("details.group")) openIfUsed(group);
}

/** @param {Node | Element} field @param {unknown} value */
function writeField(field, value) {
  if (field instanceof HTMLInputElement && field.type === "checkbox") {
    field.checked = Array.isArray(value) ? value.includes(field.value) : value === true;
  } else if (field instanceof HTMLInputElement && field.type === "radio") {
    field.checked = field.value === (value === true ? "on" : value === false ? "" : value);
  } else if (field instanceof HTMLSelectElement) {
    field.value = String(value ?? "");
    if (field.selectedIndex < 0) field.selectedIndex = 0;
  } else if (field instanceof HTMLInputElement && field.type === "hidden") {
    return; // there is only one model
  } else if (field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement) {
    field.value = value === null ? "" : String(value);
  }
}

/** @param {Element} group */
function openIfUsed(group) {
  const used = [...group.querySelectorAll("input, textarea, select")].some((field) =>
    field instanceof HTMLInputElement && field.type === "checkbox" ? field.checked : "value" in field && field.value !== "",
  );
  if (used) group.setAttribute("open", "");
}

function keepForm() {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(reduceForm(readForm())));
  } catch {
    /* an unfinished number, or a store that is full or closed */
  }
}

/** Return the form that this page begins with, or null for an empty one. */
function findFirstForm() {
  const given = page.form.dataset.form;
  if (given) return completeForm(JSON.parse(given));
  const linked = readFragment();
  if (linked) return linked;
  try {
    const kept = sessionStorage.getItem(KEPT);
    return kept ? completeForm(JSON.parse(kept)) : null;
  } catch {
    return null;
  }
}

/** Return the question that was sent on the first page a moment ago, or an empty text. It is returned once. */
function takeAsked() {
  try {
    const asked = JSON.parse(sessionStorage.getItem(ASKED) ?? "{}");
    sessionStorage.removeItem(ASKED);
    return typeof asked.question === "string" && Date.now() - asked.at < 30_000 ? asked.question : "";
  } catch {
    return "";
  }
}

function readFragment() {
  if (!location.hash.startsWith("#form=")) return null;
  const form = decodeForm(location.hash.slice(6));
  if (!form) showNotice("This link is damaged, so the form is empty. Ask for it again.");
  return form;
}

/** Return the requests of the form, or null if a field cannot be sent: then it is shown. */
function readRequests() {
  showNotice("");
  for (const field of page.form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  try {
    const form = readForm();
    return { form, requests: buildRequests(form) };
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    showNotice(error.message);
    const field = page.form.elements.namedItem(error.field);
    if (field instanceof HTMLElement) {
      field.closest("details")?.setAttribute("open", "");
      field.setAttribute("aria-invalid", "true");
      field.focus();
    }
    return null;
  }
}

/* Personas */

/** Note the portraits below `root`. @param {ParentNode} root */
function notePortraits(root) {
  for (const portrait of root.querySelectorAll("[data-portrait]")) {
    if (portrait instanceof HTMLElement) portraits.set(portrait.dataset.portrait ?? "", portrait);
  }
}

/** @param {string} id */
const nameOf = (id) => portraits.get(id)?.dataset.name ?? "a persona";

/** Choose the personas of `ids`, and show their portraits. @param {string[]} ids */
async function choose(ids) {
  chosen = [...new Set(ids)].slice(0, MOST_PERSONAS);
  const unknown = chosen.filter((id) => !portraits.has(id));
  if (unknown.length) {
    const html = await ask(page.form.dataset.personas, { ids: unknown });
    if (html !== null) {
      const parsed = document.createElement("template");
      parsed.innerHTML = html;
      notePortraits(parsed.content);
      const gone = unknown.filter((id) => !portraits.has(id));
      chosen = chosen.filter((id) => !gone.includes(id));
      if (gone.length) showNotice("A persona of this form is not here any more. Choose another one.");
    }
  }
  showChosen();
}

function showChosen() {
  page.chosen.replaceChildren(...chosen.map(makeChosen));
  if (!chosen.length) page.chosen.append(make("li", "hint", "Nobody in particular answers. Choose personas to hear them."));
  page.chosen.classList.toggle("several", chosen.length > 1);
  page.together.hidden = chosen.length < 2;
  page.send.textContent = chosen.length > 1 && !readMosaic() ? `Send to ${chosen.length}` : "Send";
  const number = chosen.length === 1 ? "1 persona is" : `${chosen.length} personas are`;
  page.picked.textContent = `${number} chosen${chosen.length >= MOST_PERSONAS ? ", and no more can be" : ""}.`;
  for (const box of page.found.querySelectorAll("input")) box.checked = chosen.includes(box.value);
}

const readMosaic = () => new FormData(page.form).get("mosaic") === "on";

/** @param {string} id */
function makeChosen(id) {
  const item = document.createElement("li");
  const portrait = portraits.get(id)?.cloneNode(true);
  const remove = makeRemove(nameOf(id), () => {
    chosen = chosen.filter((one) => one !== id);
    showChosen();
    keepForm();
    find("choose", HTMLButtonElement).focus();
  });
  item.append(portrait ?? id, remove);
  return item;
}

/** @param {string} what @param {() => void} act */
function makeRemove(what, act) {
  const button = /** @type {HTMLButtonElement} */ (make("button", "quiet remove"));
  const sign = make("span", "", "×");
  sign.setAttribute("aria-hidden", "true");
  button.type = "button";
  button.append(sign, make("span", "unseen", `Remove ${what}`));
  button.addEventListener("click", act);
  return button;
}

let searches = 0;

/** @param {string} cursor  the last persona of the page before, or an empty text @param {Element} [more] */
async function searchPersonas(cursor, more) {
  searches += 1;
  const search = searches;
  const html = await ask(page.form.dataset.personas, { search: page.search.value, cursor });
  if (html === null || search !== searches) return;
  if (more) more.remove();
  else page.found.replaceChildren();
  page.found.insertAdjacentHTML("beforeend", html);
  notePortraits(page.found);
  showChosen();
}

/* Images */

async function addImages() {
  for (const file of page.addImage.files ?? []) {
    if (pictures.length >= MOST_IMAGES) showNotice(`At most ${MOST_IMAGES} images go with a question.`);
    else if (file.size > LARGEST_IMAGE) showNotice(`${file.name} is larger than 8 MB.`);
    else pictures.push({ name: file.name, url: await readDataUrl(file) });
  }
  page.addImage.value = "";
  showPictures();
  keepForm();
}

/** @param {Blob} file @returns {Promise<string>} */
function readDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(String(reader.result)));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}

function showPictures() {
  page.pictures.hidden = pictures.length === 0;
  page.pictures.replaceChildren(...pictures.map(makePicture));
}

/** @param {import("./playground-form.js").Picture} picture */
function makePicture(picture) {
  const item = document.createElement("li");
  // Only an image that is here already is shown. A remote one would tell its server who looks at it.
  if (/^data:image\//i.test(picture.url)) {
    const image = document.createElement("img");
    image.src = picture.url;
    image.alt = picture.name;
    item.append(image);
  } else item.append(make("code", "", picture.url));
  const remove = makeRemove(`the image ${picture.name}`, () => {
    pictures = pictures.filter((one) => one !== picture);
    showPictures();
    keepForm();
  });
  item.append(remove);
  return item;
}

/* Answers */

function send() {
  if (stops.size) return;
  const read = readRequests();
  if (!read) return;
  keepForm();
  runs += 1;
  const number = runs;
  page.answers.replaceChildren();
  page.answers.classList.toggle("several", read.requests.length > 1);
  showState(`${read.requests.length === 1 ? "The question is" : `${read.requests.length} questions are`} sent.`);
  const endings = read.requests.map((request, index) => start(request, `r${number}x${index}`));
  showRunning();
  Promise.all(endings).then((ended) => {
    showRunning();
    showState("All answers have ended.");
    void note(read.form, ended);
  });
}

/**
 * Queue a request, and return its outcome.
 *
 * @param {import("./playground-form.js").ApiRequest} request
 * @param {string} id  begins the ids of the marks in its answer
 * @returns {Promise<{who: string, outcome: Outcome}>}
 */
function start(request, id) {
  const who = request.who.map(nameOf).join(", ") || "Answer";
  const controller = new AbortController();
  return new Promise((resolve) => {
    const card = new Card(who, () => stop());
    const job = {
      run: async () => {
        card.begin();
        finish(await run(request, place, controller.signal, (answer) => card.show(answer)));
      },
      wait: (/** @type {number} */ position) => card.wait(position, lanes.paused),
    };
    const stop = () => {
      controller.abort();
      if (!lanes.waiting.includes(job)) return; // it runs, and ends by itself
      lanes.remove(job);
      run(request, place, controller.signal, () => {}).then(finish); // aborted already, so it is not sent
    };
    const finish = async (/** @type {Outcome} */ outcome) => {
      stops.delete(stop);
      showRunning();
      card.end(outcome);
      const html = hasContents(outcome) ? await ask(page.form.dataset.answer, { ...outcome.answer, place: id }) : null;
      card.settle(html);
      if (outcome.answer.error?.code === "unauthorized") showEnded();
      resolve({ who, outcome });
    };
    stops.add(stop);
    page.answers.append(card.element);
    lanes.add(job);
  });
}

/** @param {Outcome} outcome */
function hasContents({ answer }) {
  return Boolean(answer.text || answer.refusal || answer.reasoning || answer.calls.length || answer.serverCalls.length || answer.mosaic);
}

/** Note a run that has ended in one's own history. @param {Form} form @param {{who: string, outcome: Outcome}[]} ended */
async function note(form, ended) {
  const costs = ended.map(({ outcome }) => readCost(outcome.answer.usage));
  const sum = (/** @type {"input" | "output" | "credits"} */ name) => costs.reduce((all, one) => all + (one?.[name] ?? 0), 0);
  const statuses = ended.map(({ outcome }) => outcome.answer.status);
  const worst = ["failed", "stopped", "incomplete"].find((one) => statuses.some((status) => status === one));
  if (ended.every(({ outcome }) => outcome.answer.error && !hasContents(outcome) && !outcome.requestId)) return;
  await ask(page.form.dataset.runs, {
    form: reduceForm(form),
    answers: ended.map(({ who, outcome }) => ({ ...outcome.answer, who })),
    model: form.model,
    format: form.format,
    personas: cut(form.personas.map(nameOf).join(", "), 300),
    status: worst ?? "completed",
    inputTokens: sum("input"),
    outputTokens: sum("output"),
    credits: sum("credits"),
  });
}

/** @param {string} text @param {number} most */
const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

function showRunning() {
  page.send.disabled = stops.size > 0;
  page.stop.hidden = stops.size === 0;
  page.stop.textContent = stops.size > 1 ? `Stop all ${stops.size}` : "Stop";
}

function stopAll() {
  for (const stop of [...stops]) stop();
}

/** @param {string} text */
function showState(text) {
  page.state.textContent = text;
}

/* View code and the link */

/** @type {import("./playground-form.js").ApiRequest[]} */
let coded = [];

function openCode() {
  const read = readRequests();
  if (!read) return;
  coded = read.requests;
  const select = page.codeWho.querySelector("select");
  select?.replaceChildren(...coded.map((request, index) => new Option(request.who.map(nameOf).join(", "), String(index))));
  page.codeWho.hidden = coded.length < 2;
  showCode();
  page.code.showModal();
}

function showCode() {
  const language = page.code.querySelector("input[name=language]:checked");
  const select = page.codeWho.querySelector("select");
  const request = coded[Number(select?.value ?? 0)] ?? coded[0];
  if (!(language instanceof HTMLInputElement) || !request) return;
  const kind = /** @type {import("./playground-code.js").Language} */ (language.value);
  page.codeText.textContent = writeCode(kind, request, page.form.dataset.api ?? "");
}

/** @param {HTMLElement} button */
async function copyLink(button) {
  showNotice("");
  let address = null;
  try {
    address = await findLink(readForm());
  } catch (error) {
    if (error instanceof FormError) showNotice(error.message);
  }
  if (address === null) return;
  const shown = make("code", "", address);
  page.notice.replaceChildren("This link fills the form in, and sends nothing: ", shown);
  page.notice.className = "notice";
  page.notice.hidden = false;
  flash(button, await copyText(address, shown));
}

/** @param {Form} form @returns {Promise<string | null>} */
async function findLink(form) {
  const encoded = encodeForm(form);
  const start = location.origin + location.pathname.replace(/\/playground.*/, "/playground");
  if (encoded.length <= LONGEST_FRAGMENT) return `${start}#form=${encoded}`;
  const saved = await ask(page.form.dataset.forms, reduceForm(form));
  return saved === null ? null : location.origin + JSON.parse(saved).path;
}

/** @param {HTMLElement} button @param {string} word */
function flash(button, word) {
  const label = button.dataset.label ?? button.textContent ?? "";
  button.dataset.label = label;
  button.textContent = word;
  setTimeout(() => {
    button.textContent = label;
  }, 2500);
}

/* Wiring */

function wire() {
  page.form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  page.form.addEventListener("input", () => {
    showChosen();
    keepForm();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && stops.size && !document.querySelector("dialog[open]")) stopAll();
  });
  document.addEventListener("visibilitychange", () => {
    // A hidden tab starts nothing, so that several tabs leave connections for the one in use.
    if (document.hidden) lanes.pause();
    else lanes.resume();
  });
  addEventListener("hashchange", async () => {
    const form = readFragment();
    if (form) await writeForm(form);
  });
  page.stop.addEventListener("click", stopAll);
  page.addImage.addEventListener("change", addImages);
  wirePicker();
  wireCode();
  wireButton("copy-link", copyLink);
  wireButton("reset", async () => {
    await writeForm({ ...EMPTY, personas: chosen });
    keepForm();
    page.question.focus();
  });
  page.answers.addEventListener("click", showMark);
}

function wirePicker() {
  wireButton("choose", () => {
    page.picker.showModal();
    page.search.focus();
    if (!page.found.children.length) void searchPersonas("");
  });
  let timer = 0;
  page.search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void searchPersonas(""), 200);
  });
  page.found.addEventListener("change", (event) => {
    if (!(event.target instanceof HTMLInputElement)) return;
    const id = event.target.value;
    chosen = event.target.checked ? [...chosen, id].slice(0, MOST_PERSONAS) : chosen.filter((one) => one !== id);
    showChosen();
    keepForm();
  });
  page.found.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-more]") : null;
    if (button) void searchPersonas(button.getAttribute("data-more") ?? "", button.closest("li") ?? undefined);
  });
  closeByButton(page.picker);
}

function wireCode() {
  wireButton("view-code", openCode);
  page.code.addEventListener("change", showCode);
  wireButton("copy-code", async (button) => flash(button, await copyText(page.codeText.textContent ?? "", page.codeText)));
  closeByButton(page.code);
}

/** @param {HTMLDialogElement} dialog */
function closeByButton(dialog) {
  dialog.querySelector("[data-close]")?.addEventListener("click", () => dialog.close());
}

/** @param {string} id @param {(button: HTMLButtonElement) => unknown} act */
function wireButton(id, act) {
  const button = find(id, HTMLButtonElement);
  button.hidden = false;
  button.addEventListener("click", () => void act(button));
}

/** Bring the sentence of an insight or a bias into view without a new entry in the history. @param {Event} event */
function showMark(event) {
  const link = event.target instanceof Element ? event.target.closest('a[href^="#"]') : null;
  const mark = link && document.getElementById(link.getAttribute("href")?.slice(1) ?? "");
  if (!mark) return;
  event.preventDefault();
  for (const one of document.querySelectorAll("mark.found")) one.classList.remove("found");
  mark.classList.add("found");
  mark.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

async function begin() {
  notePortraits(page.chosen);
  const preselected = [...portraits.keys()];
  page.form.hidden = false;
  wire();
  const empty = { ...EMPTY, model: control("model").value || EMPTY.model, personas: preselected };
  const asked = takeAsked();
  await writeForm(asked ? { ...empty, question: asked } : (findFirstForm() ?? empty));
  showTimes(document);
  page.question.focus();
  if (asked) send();
}

void begin();
