// The pages of personas: choosing for a comparison, waiting for a draft, and trying an unsaved persona.
import { run } from "./playground-run.js";

/**
 * Let at most `data-most` boxes be ticked, and say how many are.
 * @param {HTMLFormElement} form
 */
function limitChoice(form) {
  const most = Number(form.dataset.most);
  const text = form.querySelector("[data-count]");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")].filter((box) => box instanceof HTMLInputElement);
  const button = form.querySelector("button[type=submit]");
  function count() {
    const chosen = boxes.filter((box) => box.checked).length;
    for (const box of boxes) box.disabled = !box.checked && chosen >= most;
    if (text) text.textContent = chosen ? `${chosen} of ${most} chosen.` : "Choose two or three.";
    if (button instanceof HTMLButtonElement) button.disabled = chosen < 2;
  }
  form.addEventListener("change", count);
  count();
}

/**
 * Show how long a form has been waiting for its answer. Stopping it closes the request, and the server stops.
 * @param {HTMLFormElement} form
 */
function showWaiting(form) {
  const line = form.querySelector("[data-waiting]");
  const seconds = form.querySelector("[data-seconds]");
  if (!(line instanceof HTMLElement)) return;
  let timer = 0;
  form.addEventListener("submit", () => {
    const began = Date.now();
    line.hidden = false;
    timer = window.setInterval(() => {
      if (seconds) seconds.textContent = String(Math.round((Date.now() - began) / 1000));
    }, 1000);
  });
  line.querySelector("[data-stop]")?.addEventListener("click", () => {
    window.stop();
    window.clearInterval(timer);
    line.hidden = true;
  });
}

/**
 * Return the messages of the unsaved persona, or the reason why there are none.
 * @param {HTMLFormElement} form @param {string} address
 * @returns {Promise<{ input?: object[], fault?: string }>}
 */
async function readPersona(form, address) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string") fields.append(name, value);
  const answer = await fetch(address, { method: "POST", body: fields });
  if (!answer.headers.get("content-type")?.includes("json")) return { fault: "Your session has ended. Sign in in another tab." };
  const found = await answer.json();
  return answer.ok ? { input: found.input } : { fault: found.error?.message ?? "The persona is not valid." };
}

/** @param {HTMLElement} panel @param {HTMLFormElement} form */
function addPreview(panel, form) {
  const [question, ask, stop, shown, note] = ["question", "ask", "stop", "answer", "note"]
    .map((name) => panel.querySelector(`[data-${name}]`));
  if (!(question instanceof HTMLTextAreaElement && ask instanceof HTMLButtonElement)) return;
  if (!(stop instanceof HTMLButtonElement && shown instanceof HTMLElement && note instanceof HTMLElement)) return;
  const root = document.documentElement;
  panel.hidden = false;
  /** @type {AbortController | null} */
  let running = null;
  ask.addEventListener("click", async () => {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    [shown.textContent, note.textContent, stop.hidden, ask.disabled] = ["", "The persona thinks.", false, true];
    try {
      const persona = await readPersona(form, panel.dataset.preview ?? "");
      if (persona.fault || !persona.input) {
        note.textContent = persona.fault ?? "";
        return;
      }
      const body = {
        model: "mavera-1", stream: true, store: false,
        input: [...persona.input, { role: "user", content: question.value }],
      };
      const place = { base: root.dataset.base ?? "", workspace: root.dataset.workspace ?? "" };
      const { answer } = await run({ path: "/responses", body, who: [] }, place, mine.signal, (part) => {
        shown.textContent = part.text;
      });
      shown.textContent = answer.text;
      note.textContent = answer.status === "completed" ? "" : answer.error?.message ?? "Stopped.";
    } catch {
      note.textContent = "The server could not be reached.";
    } finally {
      [stop.hidden, ask.disabled] = [true, false];
    }
  });
  stop.addEventListener("click", () => running?.abort());
}

for (const form of document.querySelectorAll("form[data-most]")) if (form instanceof HTMLFormElement) limitChoice(form);
for (const form of document.querySelectorAll("form[data-waits]")) if (form instanceof HTMLFormElement) showWaiting(form);
const panel = document.querySelector("[data-preview]");
const form = document.querySelector("form#edit");
if (panel instanceof HTMLElement && form instanceof HTMLFormElement) addPreview(panel, form);
