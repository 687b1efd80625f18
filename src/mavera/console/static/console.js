// The scripts of every page: each adds to a page that works without it.
import { addCopyButtons } from "./copy.js";
import { keepForms } from "./forms.js";
import { addMenu } from "./menu.js";
import { watchServer } from "./offline.js";
import { showTimes } from "./time.js";

/** @param {ParentNode} root */
function enhance(root) {
  showTimes(root);
  addCopyButtons(root);
}

enhance(document);
addMenu(document);
keepForms(document);
watchServer(document);
document.addEventListener("htmx:after:swap", () => enhance(document));
