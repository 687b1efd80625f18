// Run programs in JavaScript, given as JSON by their names, one after the other. Write what each printed as JSON.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { format } from "node:util";

const programs = JSON.parse(await new Response(process.stdin).text());
const folder = mkdtempSync(join(tmpdir(), "programs-"));
const write = process.stdout.write.bind(process.stdout);
const outputs = {};
let printed = "";
process.stdout.write = (text) => Boolean((printed += text));
console.log = (...values) => void (printed += `${format(...values)}\n`);
for (const [number, [name, code]] of Object.entries(programs).entries()) {
  const path = join(folder, `${number}.mjs`);
  writeFileSync(path, code);
  printed = "";
  await import(path);
  outputs[name] = printed;
}
write(JSON.stringify(outputs));
