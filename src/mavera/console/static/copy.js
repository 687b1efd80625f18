// Copy the text beside a button. Plain http has no clipboard, so there the text is selected instead.

/** @param {Element} target */
export function selectText(target) {
  const selection = getSelection();
  if (!selection) return;
  selection.removeAllRanges();
  const range = document.createRange();
  range.selectNodeContents(target);
  selection.addRange(range);
}

/**
 * Copy `text`, or select `target` if that is not possible. Returns what the button says then.
 * @param {string} text
 * @param {Element} target
 */
export async function copyText(text, target) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied";
  } catch {
    selectText(target);
    return "Selected: press Ctrl+C";
  }
}

/** @param {ParentNode} root */
export function addCopyButtons(root) {
  for (const button of root.querySelectorAll("button[data-copy][hidden]")) {
    const target = button.parentElement?.querySelector("code, input, textarea");
    if (!target) continue;
    const label = button.textContent;
    button.removeAttribute("hidden");
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      const text = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement
        ? target.value : target.textContent ?? "";
      button.textContent = await copyText(text, target);
      setTimeout(() => { button.textContent = label; }, 2500);
    });
  }
}
