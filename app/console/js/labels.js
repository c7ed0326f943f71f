/** Labels and explanations for the codes of the API. */

export const INTEGRATION_STATES = {
  not_configured: ["Not set up yet", "neutral", "Create an app in Xero and enter its client id and secret below. It takes about a minute."],
  not_connected: ["Not connected", "neutral", "Press Connect Xero and sign in to Xero as a user with access to the organisations to sync."],
  choose_tenants: ["Choose organisations", "warning", "Xero is connected. Select the organisations to sync below; nothing is synced until at least one is saved."],
  connected: ["Connected", "good", "Xero is connected and the selected organisations are kept up to date."],
  reconnect_required: ["Reconnect needed", "critical", "Xero no longer accepts the connection. Press Reconnect Xero: organisations and their data stay as they are."],
  needs_permission: ["Permission missing", "critical", "Xero is connected, but did not grant all permissions that are needed. Review the permissions and allow them; access stays read-only."],
};

export const CONSENT_OUTCOMES = {
  connected: ["good", "Xero is connected", "Consent was given. Select the organisations to sync, if that is not done yet."],
  denied: ["warning", "Xero was not connected", "Access was not allowed on Xero's page. Nothing has changed; press Connect Xero to try again."],
  invalid_state: ["critical", "This sign-in was not started here", "The response from Xero does not belong to a sign-in that this browser started. Press Connect Xero again, in this tab, and allow cookies for this site."],
  expired_state: ["warning", "The attempt took too long", "A sign-in at Xero is valid for ten minutes. Nothing has changed; press Connect Xero again."],
  exchange_failed: ["critical", "Xero refused to finish the connection", "Usual causes: the client secret is wrong, the redirect URI differs, or Xero did not respond. Check both below and try again."],
  scope_refused: ["critical", "Xero does not let this app ask for these permissions", "Nothing was saved. Apps made on or after 2 March 2026 may only ask for the single permissions, older ones for either. Connect again with the other permissions."],
  missing_scope: ["critical", "One permission is missing", "Xero is connected, but did not grant every permission. What is missing is named below; review the permissions and allow them."],
  missing_offline_access: ["critical", "Xero gave access for 30 minutes only", "The permission offline_access was not granted, so the connection was not saved. Connect again and allow it."],
  no_tenants: ["warning", "No organisation to sync", "No accounting organisation was ticked on Xero's page (practices carry no billing data). Connect again and tick at least one."],
  different_tenants: ["critical", "Those are different organisations", "None of the organisations synced until now is among them, so nothing was changed. Connect again and choose the same ones; to change them permanently, disconnect first."],
};

export function consentOutcome(code) {
  return CONSENT_OUTCOMES[code] ?? ["warning", "The consent has ended", `Xero or the service returned a code that this page does not know: ${code}.`];
}

/** Health of an organisation: label, tone, and severity (0 is the most severe). */
export const HEALTH = {
  forbidden: ["No access", "critical", 0],
  removed: ["Removed in Xero", "critical", 1],
  failing: ["Failing", "critical", 2],
  partial: ["Some records failed", "warning", 3],
  paused: ["Paused", "warning", 4],
  rate_limited: ["Waiting for Xero's limit", "warning", 5],
  first_sync: ["First sync", "info", 6],
  syncing: ["Syncing", "info", 7],
  healthy: ["Up to date", "good", 8],
  not_selected: ["Not selected", "neutral", 9],
};

export const RUN_STATUS = {
  pending: ["Waiting", "neutral"],
  running: ["Running", "info"],
  succeeded: ["Succeeded", "good"],
  partial: ["Partial", "warning"],
  paused: ["Paused", "warning"],
  failed: ["Failed", "critical"],
};

export const TRIGGERS = {
  schedule: "Scheduled",
  manual: "Manual",
  webhook: "Webhook",
  replay: "Replay",
  reconcile: "Reconciliation",
};

export const RESOURCES = { contacts: "Contacts", invoices: "Invoices", credit_memos: "Credit notes", payments: "Payments" };

export const INVOICE_STATUS = {
  draft: ["Draft", "neutral"],
  open: ["Open", "info"],
  paid: ["Paid", "good"],
  void: ["Void", "neutral"],
  deleted: ["Deleted", "neutral"],
};

export const EVENT_STATUS = {
  pending: ["Waiting", "info"],
  processed: ["Processed", "good"],
  ignored: ["Ignored", "neutral"],
  failed: ["Failed, will be retried", "warning"],
  dead: ["Given up", "critical"],
  dismissed: ["Dismissed", "neutral"],
};

export const SOURCES = { xero: "Xero", quickbooks: "QuickBooks", psa: "PSA", rmm: "RMM" };

export const TIMELINE_KINDS = {
  invoice_issued: "Invoice issued",
  invoice_paid: "Invoice paid",
  invoice_voided: "Invoice voided",
  payment_received: "Payment received",
  payment_deleted: "Payment deleted",
  credit_memo_issued: "Credit note issued",
  ticket: "Ticket",
  device_alert: "Device alert",
};

export const BASE_UNAVAILABLE_REASONS = {
  no_invoices: "there are no invoices yet",
  base_currency_unknown: "the organisation's base currency is not known yet, or its documents leave two currencies possible",
  organisations_differ: "the customer is billed by organisations with different base currencies",
  exchange_rate_missing: "an invoice carries no exchange rate",
};

export const CHECK_STATES = {
  passed: ["Passed", "good"],
  failed: ["Failed", "critical"],
  not_yet: ["Not yet", "neutral"],
};

export const CHECKS = {
  encryption_keys: "Encryption keys",
  credentials: "Client id and secret",
  redirect_uri: "Redirect URI",
  connection: "Connection",
  grant: "Connected user",
  scopes: "Permissions",
  organisations: "Organisations",
  webhook_key: "Webhook key",
};

/** Return the label of a code in one of the tables above; an unknown code is its own label. */
export function labelOf(labels, code) {
  return labels[code] ?? String(code).replaceAll("_", " ");
}

/** Return label and tone of a status code. */
export function statusLabel(labels, code) {
  return labels[code] ?? [labelOf({}, code), "neutral"];
}
