/**
 * The card of one answer: its persona, its text while it arrives, and the drawn answer at the end.
 *
 * While an answer arrives it is only text. The HTML at the end comes from the console, which cleans it.
 */

import { adviseOn, readCost } from "./playground-events.js";

/** @typedef {import("./playground-events.js").Answer} Answer */
/** @typedef {import("./playground-run.js").Outcome} Outcome */

/** @type {Record<string, [string, string]>} */
const BADGES = {
  waiting: ["waits", ""],
  running: ["answers", ""],
  completed: ["completed", "good"],
  incomplete: ["incomplete", "warn"],
  stopped: ["stopped", "warn"],
  failed: ["failed", "bad"],
};

/** @type {Record<string, string>} */
const REASONS = {
  max_output_tokens: "The answer reached the limit of tokens. Raise “Max tokens” for a longer one.",
  content_filter: "The model's server withheld the rest of the answer.",
};

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [content]
 */
export function make(tag, className = "", content = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = content;
  return element;
}

export class Card {
  /**
   * @param {string} who  the name of the persona, or of several
   * @param {() => void} stop  called when somebody stops this answer
   */
  constructor(who, stop) {
    this.who = who;
    this.began = 0;
    this.shown = 0;
    this.element = make("article", "card answer");
    this.element.setAttribute("aria-busy", "true");
    const head = make("header", "answer-head");
    this.badge = make("span", "badge");
    this.stopButton = /** @type {HTMLButtonElement} */ (make("button", "quiet", "Stop"));
    this.stopButton.type = "button";
    this.stopButton.setAttribute("aria-label", `Stop: ${who}`);
    this.stopButton.addEventListener("click", stop);
    head.append(make("h2", "", who), this.badge, this.stopButton);
    this.body = make("div", "answer-body");
    this.text = document.createTextNode("");
    this.plain = make("div", "arriving");
    this.plain.append(this.text);
    this.activity = make("p", "hint activity");
    this.body.append(this.plain, this.activity);
    this.foot = make("footer", "answer-foot hint");
    this.element.append(head, this.body, this.foot);
    this.frame = 0;
    this.setStatus("waiting");
  }

  /** @param {string} status @param {string} [word] */
  setStatus(status, word) {
    const [usual, kind] = BADGES[status] ?? [status, ""];
    this.badge.textContent = word ?? usual;
    this.badge.className = `badge ${kind}`;
  }

  /** @param {number} place  the place in the queue, from 1 @param {boolean} isPaused */
  wait(place, isPaused) {
    this.setStatus("waiting", isPaused ? "waits until you look at this tab" : `waits, number ${place}`);
  }

  begin() {
    this.began = performance.now();
    this.setStatus("running");
    this.activity.textContent = "Thinks …";
  }

  /** Show what has arrived, at most once for each picture on the screen. @param {Answer} answer */
  show(answer) {
    this.answer = answer;
    // A hidden tab draws nothing. `end` shows the whole text there.
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.answer) this.draw(this.answer);
    });
  }

  /** @param {Answer} answer */
  draw(answer) {
    const text = answer.text || answer.refusal;
    // Adding only the new piece keeps a long answer as fast as a short one.
    if (text.startsWith(this.text.data)) this.text.appendData(text.slice(this.text.length));
    else this.text.data = text;
    this.activity.textContent = answer.activity ? `${answer.activity} …` : text ? "" : answer.reasoning ? "Reasons …" : "Thinks …";
  }

  /** Show how an answer ended. Its text stays as it arrived until `settle`. @param {Outcome} outcome */
  end({ answer, requestId, retryAfter }) {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.draw(answer);
    this.activity.remove();
    this.stopButton.remove();
    this.setStatus(answer.status);
    this.plain.classList.add("ended");
    this.plain.hidden = !this.text.length;
    if (answer.error) this.body.prepend(this.makeNotice(answer, requestId, retryAfter));
    else if (answer.why) this.body.append(make("p", "hint", REASONS[answer.why] ?? `It ended early: ${answer.why}.`));
    this.foot.textContent = this.describe(answer, requestId);
  }

  /**
   * Put the answer as the console drew it in place of its plain text. The card does not change after this, so a
   * screen reader may read it.
   *
   * @param {string | null} html  null if there is nothing to draw, or if it could not be drawn
   */
  settle(html) {
    if (html !== null) {
      const drawn = make("div");
      drawn.innerHTML = html;
      this.plain.replaceWith(drawn);
    }
    this.element.removeAttribute("aria-busy");
  }

  /** @param {Answer} answer @param {string} requestId @param {number | null} retryAfter */
  makeNotice(answer, requestId, retryAfter) {
    const notice = make("div", "notice bad");
    notice.setAttribute("role", "alert");
    const error = answer.error;
    if (!error) return notice;
    notice.append(make("p", "", error.message), make("p", "", adviseOn(error.code)));
    const details = [error.param && `Field: ${error.param}`, retryAfter && `Wait ${retryAfter} s`, requestId && `Request ${requestId}`];
    notice.append(make("p", "hint", details.filter(Boolean).join(" · ")));
    return notice;
  }

  /** @param {Answer} answer @param {string} requestId */
  describe(answer, requestId) {
    const cost = readCost(answer.usage);
    const seconds = this.began ? `${((performance.now() - this.began) / 1000).toFixed(1)} s` : "";
    const number = (/** @type {number} */ value) => value.toLocaleString("en");
    const parts = cost
      ? [`${number(cost.credits)} ${cost.credits === 1 ? "credit" : "credits"}`, `${number(cost.input)} + ${number(cost.output)} tokens`, seconds]
      : [answer.status === "stopped" && this.began ? "Only what arrived is charged" : "", seconds];
    if (!answer.error && requestId) parts.push(requestId);
    return parts.filter(Boolean).join(" · ");
  }
}
