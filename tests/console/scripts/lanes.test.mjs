import assert from "node:assert/strict";
import { test } from "node:test";

import { Lanes } from "../../../src/mavera/console/static/playground-lanes.js";

/** Return a job that ends when its `end` is called, and that remembers what happened to it. */
function makeJob() {
  const job = { begun: false, places: [], end: () => {}, wait: (place) => job.places.push(place) };
  job.run = () => {
    job.begun = true;
    return new Promise((resolve) => (job.end = resolve));
  };
  return job;
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

test("three jobs run, and the others wait in order", async () => {
  const lanes = new Lanes(3);
  const jobs = Array.from({ length: 5 }, makeJob);
  jobs.forEach((job) => lanes.add(job));
  assert.deepEqual(jobs.map((job) => job.begun), [true, true, true, false, false]);
  assert.equal(jobs[4].places.at(-1), 2);
  jobs[1].end();
  await settle();
  assert.deepEqual(jobs.map((job) => job.begun), [true, true, true, true, false]);
  assert.equal(jobs[4].places.at(-1), 1);
});

test("a job that leaves the queue never begins", async () => {
  const lanes = new Lanes(1);
  const jobs = Array.from({ length: 3 }, makeJob);
  jobs.forEach((job) => lanes.add(job));
  lanes.remove(jobs[1]);
  jobs[0].end();
  await settle();
  assert.deepEqual(jobs.map((job) => job.begun), [true, false, true]);
});

test("a pause starts nothing new and stops nothing", async () => {
  const lanes = new Lanes(2);
  const jobs = Array.from({ length: 3 }, makeJob);
  jobs.forEach((job) => lanes.add(job));
  lanes.pause();
  jobs[0].end();
  await settle();
  assert.equal(jobs[2].begun, false);
  lanes.resume();
  assert.equal(jobs[2].begun, true);
});

test("a job that fails frees its lane", async () => {
  const lanes = new Lanes(1);
  const next = makeJob();
  lanes.add({ run: () => Promise.reject(new Error("no")) });
  lanes.add(next);
  await settle();
  assert.equal(next.begun, true);
});
