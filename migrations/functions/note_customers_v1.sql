-- Trigger function: notes the customers whose services, invoices or links a statement changed, because the alerts about
-- services without an invoice follow from those. Only customers that have services are noted.
--
-- The rows are `new_rows` and `old_rows`, as far as the statement has them. It runs as the owner of the tables, because
-- other services write them and know nothing of these notes.
CREATE FUNCTION note_customers() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  is_service constant boolean := TG_TABLE_NAME = 'billing_services';
BEGIN
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO billing_changes (customer_id)
      SELECT DISTINCT customer_id FROM new_rows
      WHERE is_service OR EXISTS (SELECT FROM billing_services AS service WHERE service.customer_id = new_rows.customer_id);
  END IF;
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO billing_changes (customer_id)
      SELECT DISTINCT customer_id FROM old_rows
      WHERE is_service OR EXISTS (SELECT FROM billing_services AS service WHERE service.customer_id = old_rows.customer_id);
  END IF;
  RETURN NULL;
END
$$
