// Shows the API's documentation with Swagger UI, which the page has loaded before.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  // Without this, the address of the description would be sent to a public validator.
  validatorUrl: null,
});
