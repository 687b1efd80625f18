// Say so when the server does not answer a part of the page that htmx asked for. The page stays as it is.

/** @param {Document} root */
export function watchServer(root) {
  const notice = root.createElement("p");
  notice.className = "notice bad offline";
  notice.setAttribute("role", "alert");
  notice.hidden = true;
  root.body.append(notice);

  root.addEventListener("htmx:error", () => {
    notice.textContent = "The server does not answer. Your entries are still here; try again in a moment.";
    notice.hidden = false;
  });
  root.addEventListener("htmx:after:request", () => { notice.hidden = true; });
}
