-- Trigger function: ends the references to rows that a statement deleted, `deleted_rows`, as a foreign key would.
-- Arguments: the referring table and column, and what happens to a referring row: it is deleted with `cascade`, loses its
-- reference with `set null`, and makes the statement fail with `restrict`.
CREATE FUNCTION end_references() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  is_referring constant text := format('%I IN (SELECT id FROM deleted_rows)', TG_ARGV[1]);
  referred uuid;
BEGIN
  CASE TG_ARGV[2]
    WHEN 'cascade' THEN
      EXECUTE format('DELETE FROM %I WHERE %s', TG_ARGV[0], is_referring);
    WHEN 'set null' THEN
      EXECUTE format('UPDATE %I SET %I = NULL WHERE %s', TG_ARGV[0], TG_ARGV[1], is_referring);
    WHEN 'restrict' THEN
      EXECUTE format('SELECT %I FROM %I WHERE %s LIMIT 1', TG_ARGV[1], TG_ARGV[0], is_referring) INTO referred;
      IF referred IS NOT NULL THEN
        RAISE foreign_key_violation USING
          MESSAGE = format('%s of %s cannot be deleted: %s.%s refers to it',
                           referred, TG_TABLE_NAME, TG_ARGV[0], TG_ARGV[1]),
          TABLE = TG_TABLE_NAME;
      END IF;
  END CASE;
  RETURN NULL;
END
$$
