-- Trigger function: notes what a statement changed in invoices or credit memos and what is derived must follow, so that
-- a refresh reads those rows and not all. Whoever writes the rows, the trigger sees it.
--
-- The rows are `new_rows` and `old_rows`, as far as the statement has them. Noted are
-- invoices that are open or were until now, by their id: no other can be or become overdue;
-- with concerns_base_currency, that an organisation's base currency may be another one now: another service wrote a live
-- document that is not as the known one lets expect, from which nobody infers it at once, or a document no longer speaks
-- against a currency.
--
-- It runs as the owner of the tables, because other services write invoices and know nothing of these notes.
CREATE FUNCTION note_changes() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  is_invoice constant boolean := TG_TABLE_NAME = 'billing_invoices';
  concerns_base_currency boolean := false;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF is_invoice THEN
      INSERT INTO billing_changes (invoice_id) SELECT id FROM new_rows WHERE status = 'open';
    END IF;
  ELSIF TG_OP = 'UPDATE' THEN
    IF is_invoice THEN
      INSERT INTO billing_changes (invoice_id)
        SELECT id FROM new_rows JOIN old_rows USING (id) WHERE 'open' IN (new_rows.status, old_rows.status);
    END IF;
    concerns_base_currency := EXISTS (
      SELECT FROM old_rows JOIN new_rows USING (id)
      WHERE old_rows.status IN ('open', 'paid') AND old_rows.exchange_rate NOT IN (0, 1)
        AND (new_rows.status NOT IN ('open', 'paid')
             OR (new_rows.currency, new_rows.exchange_rate) IS DISTINCT FROM (old_rows.currency, old_rows.exchange_rate)));
  ELSE
    IF is_invoice THEN
      INSERT INTO billing_changes (invoice_id) SELECT id FROM old_rows WHERE status = 'open';
    END IF;
    concerns_base_currency := EXISTS (SELECT FROM old_rows WHERE status IN ('open', 'paid'));
  END IF;
  IF TG_OP <> 'DELETE' AND NOT concerns_base_currency THEN
    concerns_base_currency := EXISTS (
      SELECT FROM new_rows AS written LEFT JOIN billing_organisations AS known USING (source, source_tenant_id)
      WHERE written.status IN ('open', 'paid')
        AND (known.base_currency IS NULL
             OR (written.currency = known.base_currency) <> (coalesce(written.exchange_rate, 1) IN (0, 1)))
        AND NOT EXISTS (SELECT FROM tenants WHERE (vendor, tenant_id) = (written.source, written.source_tenant_id)));
  END IF;
  IF concerns_base_currency THEN
    INSERT INTO billing_changes (concerns_base_currency) VALUES (true);
  END IF;
  RETURN NULL;
END
$$
