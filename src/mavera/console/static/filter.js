// Show only the entries of a list that contain what is typed.

/**
 * @param {string} text
 * @param {string} typed
 */
export const matches = (text, typed) => {
  const found = text.toLowerCase();
  return typed.toLowerCase().split(/\s+/).every((word) => found.includes(word));
};

/** @param {ParentNode} root */
export function addFilters(root) {
  for (const input of root.querySelectorAll("input[data-filter][hidden]")) {
    const list = root.querySelector(input.getAttribute("data-filter") ?? "");
    if (!(input instanceof HTMLInputElement) || !list) continue;
    input.hidden = false;
    input.addEventListener("input", () => {
      for (const entry of list.children) {
        if (!(entry instanceof HTMLElement)) continue;
        const box = entry.querySelector("input");
        entry.hidden = !(box instanceof HTMLInputElement && box.checked) && !matches(entry.textContent ?? "", input.value);
      }
    });
  }
}
