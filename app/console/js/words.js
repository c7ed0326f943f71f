/** What the service's codes mean to a person. */

export const STATES = {
  not_configured: ["Not set up yet", "neutral", "Create an app in Xero and enter its client id and secret below. It takes about a minute."],
  not_connected: ["Not connected", "neutral", "Press Connect Xero and sign in to Xero as someone who may see the organisations to sync."],
  choose_tenants: ["Choose organisations", "warning", "Xero is connected. Pick the organisations to sync below; nothing syncs until at least one is saved."],
  connected: ["Connected", "good", "Xero is connected and the chosen organisations are kept up to date."],
  reconnect_required: ["Reconnect needed", "critical", "Xero no longer accepts our access. Reconnect in one click: organisations, history and figures stay as they are."],
  needs_permission: ["Permission missing", "critical", "Xero is connected, but did not grant all that is needed. Review the permissions and allow them; access stays read-only."],
};

export const OUTCOMES = {
  connected: ["good", "Xero is connected", "Consent was given. Choose which organisations to sync, if that is not done yet."],
  denied: ["warning", "Xero was not connected", "Access was not allowed on Xero's page. Nothing has changed; press Connect Xero to try again."],
  invalid_state: ["critical", "This sign-in was not started here", "The answer from Xero does not belong to an attempt of this browser. Press Connect Xero again, in this tab, and allow cookies for this site."],
  expired_state: ["warning", "The attempt took too long", "A sign-in at Xero is good for ten minutes. Nothing has changed; press Connect Xero again."],
  exchange_failed: ["critical", "Xero refused to finish the connection", "Usual causes: the client secret is wrong, the redirect URI differs, or Xero did not answer. Check both below and try again."],
  scope_refused: ["critical", "Xero does not let this app ask for these permissions", "Nothing was saved. Apps made on or after 2 March 2026 may only ask for the single permissions, older ones for either. Connect again with the other permissions."],
  missing_scope: ["critical", "One permission is missing", "Xero is connected, but did not grant every permission. What is missing is named below; review the permissions and allow them."],
  missing_offline_access: ["critical", "Xero gave access for 30 minutes only", "The permission offline_access was not granted, so nothing was kept. Connect again and allow it."],
  no_tenants: ["warning", "No organisation to sync", "No accounting organisation was ticked on Xero's page (practices carry no billing data). Connect again and tick at least one."],
  different_tenants: ["critical", "Those are different organisations", "None of the organisations synced until now was among them, so nothing was changed. Connect again and pick the same ones; to change for good, disconnect first."],
};

export function outcomeOf(code) {
  return OUTCOMES[code] ?? ["warning", "Xero sent you back", `It ended with a code this page does not know: ${code}.`];
}

/** Health of an organisation: words, tone, and rank with the worst first. */
export const HEALTH = {
  forbidden: ["No access", "critical", 0],
  removed: ["Removed in Xero", "critical", 1],
  failing: ["Failing", "critical", 2],
  partial: ["Some records need a look", "warning", 3],
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
  partial: ["Partly done", "warning"],
  paused: ["Paused", "warning"],
  failed: ["Failed", "critical"],
};

export const TRIGGERS = {
  schedule: "On schedule",
  manual: "By hand",
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
  failed: ["Failed, will be tried again", "warning"],
  dead: ["Given up", "critical"],
};

export const SOURCES = { xero: "Xero", quickbooks: "QuickBooks", psa: "PSA", rmm: "RMM" };

export const KINDS = {
  invoice_issued: "Invoice issued",
  invoice_paid: "Invoice paid",
  invoice_voided: "Invoice voided",
  payment_received: "Payment received",
  payment_deleted: "Payment deleted",
  credit_memo_issued: "Credit note issued",
  ticket: "Ticket",
  device_alert: "Device alert",
};

export const NO_BASE = {
  no_invoices: "there are no invoices yet",
  base_currency_unknown: "the organisation's base currency is not known yet",
  organisations_differ: "the customer is billed by organisations with different base currencies",
  exchange_rate_missing: "an invoice carries no exchange rate",
};

export const CHECKS = {
  encryption_keys: "Encryption keys",
  credentials: "Client id and secret",
  redirect_uri: "Redirect URI",
  connection: "Connection",
  scopes: "Permissions",
  organisations: "Organisations",
  webhook_key: "Webhook key",
};

/** Return the words of a code in one of the tables above; a code that is not there is shown as it is. */
export function say(words, code) {
  return words[code] ?? String(code).replaceAll("_", " ");
}

export function sayStatus(words, code) {
  return words[code] ?? [say({}, code), "neutral"];
}
