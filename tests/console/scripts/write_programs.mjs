// Read a list of forms as JSON, and write each as programs: [{python, javascript, curl} for each request].
import { writeCode } from "../../../src/mavera/console/static/playground-code.js";
import { buildRequests, completeForm } from "../../../src/mavera/console/static/playground-form.js";

const { forms, baseUrl } = JSON.parse(await new Response(process.stdin).text());
const programs = forms.map((form) =>
  buildRequests(completeForm(form)).map((request) =>
    Object.fromEntries(["python", "javascript", "curl"].map((one) => [one, writeCode(one, request, baseUrl)])),
  ),
);
console.log(JSON.stringify(programs));
