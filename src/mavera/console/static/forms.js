// Keep the fields of forms with `data-keep` in this tab, so that a session that ends costs no typing.

const PREFIX = "mavera-form:";

/** @param {HTMLFormElement} form */
const nameOf = (form) => PREFIX + new URL(form.action, location.href).pathname;

/**
 * Fields that are worth keeping: no secrets, no hidden values, no files.
 * @param {HTMLFormElement} form
 */
function fieldsOf(form) {
  return [...form.elements].filter(
    /** @returns {field is HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} */
    (field) => (field instanceof HTMLInputElement && !["hidden", "password", "file", "submit"].includes(field.type))
      || field instanceof HTMLTextAreaElement || field instanceof HTMLSelectElement,
  );
}

/** @param {HTMLFormElement} form */
function save(form) {
  const values = fieldsOf(form).map((field) =>
    field instanceof HTMLInputElement && ["checkbox", "radio"].includes(field.type) ? field.checked : field.value);
  try { sessionStorage.setItem(nameOf(form), JSON.stringify(values)); } catch { /* the store is full or closed */ }
}

/** @param {HTMLFormElement} form */
function restore(form) {
  const kept = sessionStorage.getItem(nameOf(form));
  const values = kept === null ? null : JSON.parse(kept);
  const fields = fieldsOf(form);
  if (!Array.isArray(values) || values.length !== fields.length) return;
  fields.forEach((field, place) => {
    const value = values[place];
    if (typeof value === "boolean" && field instanceof HTMLInputElement) field.checked = value;
    else if (typeof value === "string") field.value = value;
  });
}

/** @param {Document} root */
export function keepForms(root) {
  for (const form of root.querySelectorAll("form[data-keep]")) {
    if (!(form instanceof HTMLFormElement)) continue;
    restore(form);
    form.addEventListener("input", () => save(form));
    // The page that answers keeps the fields itself if the session has ended.
    form.addEventListener("submit", () => sessionStorage.removeItem(nameOf(form)));
  }
}
