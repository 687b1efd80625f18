// Show times in the reader's zone. The server writes them in UTC.

const format = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
});

/** @param {ParentNode} root */
export function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(time.getAttribute("datetime") ?? "");
    if (Number.isNaN(moment.valueOf())) continue;
    time.setAttribute("title", time.textContent ?? "");
    time.textContent = format.format(moment);
  }
}
