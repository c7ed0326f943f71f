-- Stores a row that is inserted into the view timeline_events in the table behind it, with that table's defaults.
CREATE FUNCTION insert_timeline_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.id := coalesce(NEW.id, gen_random_uuid());
  NEW.dedupe_key := coalesce(NEW.dedupe_key, gen_random_uuid()::text);
  NEW.created_at := coalesce(NEW.created_at, now());
  INSERT INTO external_timeline_events (id, source, customer_id, at, kind, title, detail, amount, currency, link,
                                        subject_id, dedupe_key, created_at)
  VALUES (NEW.id, NEW.source, NEW.customer_id, NEW.at, NEW.kind, NEW.title, NEW.detail, NEW.amount, NEW.currency,
          NEW.link, NEW.subject_id, NEW.dedupe_key, NEW.created_at);
  RETURN NEW;
END
$$
