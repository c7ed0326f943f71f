-- The time at the moment of the call, not at the start of the transaction; leases, runs and the rate limiter use no other.
CREATE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()'
