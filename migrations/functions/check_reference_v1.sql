-- Trigger function: fails where a row that a statement wrote refers to a row that is not stored, as a foreign key would.
-- Arguments: the referring column and the table it refers to; the rows written are `written_rows`.
--
-- A foreign key looks every row up by itself, which took more than half of a page's time; this looks up all rows of the
-- statement at once. The rows referred to are locked against deletion until the transaction ends, unless it says with
-- `vectis.writes_by_locks` that it holds the locks of app/billing/locks.py, which keep them stored as well.
CREATE FUNCTION check_reference() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  is_locked boolean := coalesce(current_setting('vectis.writes_by_locks', true), '') = 'true';
  missing uuid;
BEGIN
  -- Each time planned anew, because the number of rows written decides how they are best looked up.
  EXECUTE format(
    'WITH named AS (SELECT DISTINCT %1$I AS id FROM written_rows WHERE %1$I IS NOT NULL),
          stored AS (SELECT found.id FROM named CROSS JOIN LATERAL (SELECT id FROM %2$I WHERE id = named.id %3$s) AS found)
     SELECT id FROM named EXCEPT SELECT id FROM stored LIMIT 1',
    TG_ARGV[0], TG_ARGV[1], CASE WHEN is_locked THEN 'OFFSET 0' ELSE 'FOR KEY SHARE' END
  ) INTO missing;
  IF missing IS NOT NULL THEN
    RAISE foreign_key_violation USING
      MESSAGE = format('%s.%s refers to %s, which is not a row of %s', TG_TABLE_NAME, TG_ARGV[0], missing, TG_ARGV[1]),
      TABLE = TG_TABLE_NAME, COLUMN = TG_ARGV[0];
  END IF;
  RETURN NULL;
END
$$
