// The question on the first page. It is sent by the playground, which opens with it; an address never has it.
import { ASKED } from "./playground-form.js";

const form = document.getElementById("ask-form");
const question = document.getElementById("ask");

if (form instanceof HTMLFormElement && question instanceof HTMLTextAreaElement) {
  const field = question;
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!field.value.trim()) return field.focus();
    sessionStorage.setItem(ASKED, JSON.stringify({ question: field.value, at: Date.now() }));
    location.href = form.dataset.playground ?? "";
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  field.focus();
}
