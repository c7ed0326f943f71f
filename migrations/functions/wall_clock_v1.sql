-- The time of the statement that calls it, not of the transaction; leases, runs and the rate limiter use it alone.
CREATE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()'
