// The pages of studies: progress of a study that runs, copies of charts, lines of a text with mistakes.
import { addChartButtons } from "./charts.js";
import { addFilters } from "./filter.js";

/**
 * Follow the progress of a study. The stream closes at its end and while the tab is hidden.
 * @param {HTMLProgressElement} bar
 * @param {{ open?: (address: string) => EventSource, done?: () => void }} [parts]
 */
export function follow(bar, parts = {}) {
  const open = parts.open ?? ((address) => new EventSource(address));
  const done = parts.done ?? (() => location.reload());
  const text = bar.parentElement?.querySelector("[data-progress-text]");
  /** @type {EventSource | null} */
  let source = null;
  let ended = false;
  function listen() {
    if (source || ended || document.hidden) return;
    source = open(bar.dataset.progress ?? "");
    source.addEventListener("progress", (event) => {
      const found = JSON.parse(event.data);
      bar.value = found.share;
      const failed = found.failed ? `, ${found.failed} failed` : "";
      if (text) text.textContent = `${found.done} of ${found.total} cells${failed}`;
    });
    source.addEventListener("end", () => {
      ended = true;
      close();
      done();
    });
    source.addEventListener("error", () => {
      // A refusal, such as an ended session, closes the source for good. A broken connection does not.
      if (source?.readyState === 2) { close(); ended = true; }
    });
  }
  function close() {
    source?.close();
    source = null;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : listen()));
  addEventListener("pagehide", close);
  listen();
}

/**
 * Select a line of a text and scroll to it.
 * @param {HTMLTextAreaElement} area
 * @param {number} line  counted from 1
 */
export function selectLine(area, line) {
  const lines = area.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
  area.scrollTop = (area.scrollHeight / Math.max(lines.length, 1)) * Math.max(line - 4, 0);
}

if (typeof document !== "undefined") {
  addChartButtons(document);
  addFilters(document);
  const bar = document.querySelector("progress[data-progress]");
  if (bar instanceof HTMLProgressElement) follow(bar);
  const area = document.querySelector("textarea#yaml");
  if (area instanceof HTMLTextAreaElement) {
    for (const link of document.querySelectorAll("a[data-line]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        selectLine(area, Number(link.getAttribute("data-line")));
      });
    }
  }
}
