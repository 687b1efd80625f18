/**
 * Run at most some jobs at a time. The rest wait in order, and each job tells its place while it waits.
 *
 * A browser opens six connections to one host over HTTP/1.1, so a comparison that took them all would leave none
 * for the rest of the page.
 */

/**
 * @typedef {object} Job
 * @property {() => Promise<void>} run
 * @property {(place: number) => void} [wait]  told its place in the queue, from 1
 */

export class Lanes {
  /** @param {number} most */
  constructor(most) {
    this.most = most;
    this.running = 0;
    this.paused = false;
    /** @type {Job[]} */
    this.waiting = [];
  }

  /** @param {Job} job */
  add(job) {
    this.waiting.push(job);
    this.#start();
  }

  /** Take a waiting job out of the queue. A job that runs is not stopped. @param {Job} job */
  remove(job) {
    this.waiting = this.waiting.filter((one) => one !== job);
    this.#tellPlaces();
  }

  /** Start no waiting job until `resume`. Jobs that run go on. */
  pause() {
    this.paused = true;
    this.#tellPlaces();
  }

  resume() {
    this.paused = false;
    this.#start();
  }

  #start() {
    while (!this.paused && this.running < this.most && this.waiting.length) {
      const job = /** @type {Job} */ (this.waiting.shift());
      this.running += 1;
      const free = () => {
        this.running -= 1;
        this.#start();
      };
      job.run().then(free, free);
    }
    this.#tellPlaces();
  }

  #tellPlaces() {
    this.waiting.forEach((job, index) => job.wait?.(index + 1));
  }
}
