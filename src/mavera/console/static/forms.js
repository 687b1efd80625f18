// Keep the fields of forms with `data-keep` in this tab, so that a session that ends costs no typing.
//
//   typing               the fields are kept
//   the sign-in page     notes that it was shown
//   the form's page      after the sign-in, it gets its fields back; otherwise it forgets them
//
// A field `version` is kept too. So a save of what somebody else has changed meanwhile is refused, as ever.

const PREFIX = "mavera-form:";
const SIGNED_OUT = "mavera-signed-out";
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

/** @param {HTMLFormElement} form */
const nameOf = (form) => PREFIX + new URL(form.getAttribute("action") ?? "", location.href).pathname;

/** @param {Field} field */
const isBox = (field) => field instanceof HTMLInputElement && ["checkbox", "radio"].includes(field.type);

/**
 * The fields to keep: no secrets, no hidden values, no files.
 * @param {HTMLFormElement} form
 * @returns {Field[]}
 */
function fieldsOf(form) {
  return [...form.elements].filter(/** @returns {field is Field} */ (field) => {
    if (field instanceof HTMLTextAreaElement || field instanceof HTMLSelectElement) return field.name !== "";
    if (!(field instanceof HTMLInputElement) || field.name === "") return false;
    return field.name === "version" || !["hidden", "password", "file", "submit"].includes(field.type);
  });
}

/** @param {HTMLFormElement} form */
function save(form) {
  const values = fieldsOf(form).map((field) =>
    field instanceof HTMLInputElement && isBox(field)
      ? [`${field.name}=${field.value}`, field.checked] : [field.name, field.value]);
  try { sessionStorage.setItem(nameOf(form), JSON.stringify(values)); } catch { /* the store is full or closed */ }
}

/** @param {HTMLFormElement} form */
function restore(form) {
  /** @type {Map<string, (string | boolean)[]>} */
  const kept = new Map();
  for (const [name, value] of JSON.parse(sessionStorage.getItem(nameOf(form)) ?? "[]")) {
    kept.set(name, [...(kept.get(name) ?? []), value]);
  }
  for (const field of fieldsOf(form)) {
    const name = isBox(field) ? `${field.name}=${field.value}` : field.name;
    const value = kept.get(name)?.shift();
    if (typeof value === "boolean" && field instanceof HTMLInputElement) field.checked = value;
    else if (typeof value === "string") field.value = value;
  }
}

/** @param {Document} root */
export function keepForms(root) {
  if (root.querySelector("form[data-sign-in]")) sessionStorage.setItem(SIGNED_OUT, "1");
  const forms = [...root.querySelectorAll("form[data-keep]")].filter((form) => form instanceof HTMLFormElement);
  const comesBack = sessionStorage.getItem(SIGNED_OUT) !== null;
  for (const form of forms) {
    if (comesBack) restore(form);
    else sessionStorage.removeItem(nameOf(form));
    form.addEventListener("input", () => save(form));
    // The page that answers keeps the fields itself if the session has ended.
    form.addEventListener("submit", () => sessionStorage.removeItem(nameOf(form)));
  }
  if (forms.length > 0) sessionStorage.removeItem(SIGNED_OUT);
}
