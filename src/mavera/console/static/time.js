// Show times in the reader's zone. The server writes them in UTC.

/** @type {Intl.DateTimeFormatOptions} */
const DATE = { day: "numeric", month: "short", year: "numeric" };
const date = new Intl.DateTimeFormat(undefined, DATE);
const minute = new Intl.DateTimeFormat(undefined, { ...DATE, hour: "2-digit", minute: "2-digit" });

/** @param {ParentNode} root */
export function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(time.getAttribute("datetime") ?? "");
    if (Number.isNaN(moment.valueOf())) continue;
    time.setAttribute("title", time.textContent ?? "");
    time.textContent = (time.getAttribute("data-detail") === "date" ? date : minute).format(moment);
  }
}
