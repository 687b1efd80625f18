// The scripts of the pages of studies and personas, without a browser.
import assert from "node:assert/strict";
import test from "node:test";

import { nameOf } from "../../../src/mavera/console/static/charts.js";
import { matches } from "../../../src/mavera/console/static/filter.js";
import { selectLine } from "../../../src/mavera/console/static/studies.js";

test("a picture has the name of its chart, whatever the filter", () => {
  assert.equal(nameOf("/console/w/c1/studies/fg_1/charts/q1-personas?persona=c2&cell=a"), "q1-personas.png");
  assert.equal(nameOf("/mavera/console/shared/s/charts/q%C3%A4"), "qä.png");
});

test("an entry matches if it has all typed words", () => {
  assert.ok(matches("Gen Z Consumer A student", "student gen"));
  assert.ok(matches("Boomer", ""));
  assert.ok(!matches("Boomer", "gen boomer"));
});

test("a line of a text is selected from its first to its last character", () => {
  const chosen = [];
  const area = {
    value: "name: Tea\nquestions:\n  - {id: q1}\n",
    scrollHeight: 100,
    scrollTop: 0,
    focus() {},
    setSelectionRange(start, end) { chosen.push(this.value.slice(start, end)); },
  };
  for (const line of [1, 3, 4, 99]) selectLine(area, line);
  assert.deepEqual(chosen, ["name: Tea", "  - {id: q1}", "", ""]);
});
