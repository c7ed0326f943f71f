-- Trigger function: fails where the id of a row is changed, by which rows of other tables refer to it.
CREATE FUNCTION keep_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE foreign_key_violation USING
    MESSAGE = format('the id of a row of %s cannot be changed: %s', TG_TABLE_NAME, OLD.id), TABLE = TG_TABLE_NAME;
END
$$
