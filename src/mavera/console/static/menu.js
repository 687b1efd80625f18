// Fold the navigation behind a button on narrow screens. Without scripts it stands above the page.

/** @param {Document} root */
export function addMenu(root) {
  const button = root.querySelector(".menu-button");
  const navigation = root.getElementById("navigation");
  if (!button || !navigation) return;
  button.removeAttribute("hidden");
  navigation.classList.add("foldable");

  /** @param {boolean} open */
  const show = (open) => {
    button.setAttribute("aria-expanded", String(open));
    navigation.classList.toggle("open", open);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-expanded") !== "true"));
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && button.getAttribute("aria-expanded") === "true") {
      show(false);
      if (button instanceof HTMLElement) button.focus();
    }
  });
}
