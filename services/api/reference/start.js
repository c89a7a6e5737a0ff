// Begins the API reference, with everything off that would ask somebody else.
Scalar.createApiReference("#reference", {
  url: "/v1/openapi.json",
  theme: "default",
  layout: "modern",
  withDefaultFonts: false,
  telemetry: false,
  hideClientButton: true,
  showDeveloperTools: "never",
  agent: { disabled: true },
  mcp: { disabled: true },
  persistAuth: false,
  defaultOpenFirstTag: true,
  hideModels: false,
  metaData: { title: "8ms API" },
});
