// Show /openapi.json. `persistAuthorization` keeps a pasted key over a reload, in this browser only.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  persistAuthorization: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
