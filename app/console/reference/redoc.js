// Shows the API's documentation with ReDoc, which the page has loaded before. The fonts are the system's: ReDoc's own
// would come from elsewhere.
const TEXT = "system-ui, sans-serif";
const CODE = "ui-monospace, monospace";

Redoc.init(
  "/openapi.json",
  { theme: { typography: { fontFamily: TEXT, headings: { fontFamily: TEXT }, code: { fontFamily: CODE } } } },
  document.getElementById("api"),
);
