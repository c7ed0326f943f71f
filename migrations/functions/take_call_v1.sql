-- Version 1, as migration 0001 creates it. Version 2 makes the same decisions with the names written out and explained.
CREATE FUNCTION take_call(
  p_vendor text, p_tenant text, p_minute int, p_app_minute int, p_day int, p_day_reserve int,
  OUT decision text, OUT seconds double precision, OUT slot timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
  org sync_budgets;
  app sync_budgets;
  t timestamptz;
  ready timestamptz;
  held int;
BEGIN
  INSERT INTO sync_budgets (vendor, tenant_id) VALUES (p_vendor, p_tenant), (p_vendor, '') ON CONFLICT DO NOTHING;
  SELECT * INTO org FROM sync_budgets WHERE vendor = p_vendor AND tenant_id = p_tenant FOR UPDATE;
  SELECT * INTO app FROM sync_budgets WHERE vendor = p_vendor AND tenant_id = '' FOR UPDATE;
  t := wall_clock();

  ready := greatest(org.blocked_until, app.blocked_until);
  IF ready > t THEN
    decision := 'blocked';
    seconds := extract(epoch FROM ready - t);
    RETURN;
  END IF;

  IF org.day_started_at IS NULL OR t >= org.day_started_at + interval '24 hours' THEN
    org.day_started_at := t;
    org.day_calls := 0;
    org.day_remaining := NULL;
    org.day_probed_at := NULL;
  END IF;
  IF org.day_calls >= p_day OR org.day_remaining <= p_day_reserve THEN
    -- The vendor's day is a fixed window whose end is not told: once an hour a single call may look whether it is over.
    IF p_day_reserve = 0 OR coalesce(org.day_probed_at, t) > t - interval '1 hour' THEN
      UPDATE sync_budgets SET day_probed_at = coalesce(day_probed_at, t)
        WHERE vendor = p_vendor AND tenant_id = p_tenant AND day_probed_at IS NULL;
      decision := 'day';
      seconds := extract(epoch FROM org.day_started_at + interval '24 hours' - t);
      RETURN;
    END IF;
    org.day_probed_at := t;
  END IF;

  org.slots := coalesce((SELECT array_agg(s ORDER BY s) FROM unnest(org.slots) AS s
                         WHERE s > t - interval '61 seconds'), '{}');
  held := cardinality(org.slots);
  ready := greatest(t, app.free_at);
  IF held >= p_minute THEN
    ready := greatest(ready, org.slots[held - p_minute + 1] + interval '61 seconds');
  END IF;
  seconds := extract(epoch FROM ready - t);
  IF seconds > 0.25 THEN
    decision := 'wait';
    RETURN;
  END IF;
  UPDATE sync_budgets
    SET slots = org.slots || ready, day_started_at = org.day_started_at, day_calls = org.day_calls + 1,
        day_remaining = org.day_remaining, day_probed_at = org.day_probed_at
    WHERE vendor = p_vendor AND tenant_id = p_tenant;
  UPDATE sync_budgets SET free_at = ready + interval '61 seconds' / p_app_minute
    WHERE vendor = p_vendor AND tenant_id = '';
  decision := 'go';
  slot := ready;
END
$$
