-- Decides for the rate limiter whether one call to the vendor may be made now, and counts the call if so.
--
-- for_vendor, for_tenant_id   whose call it is
-- minute_allowance            calls of this tenant in any 61 seconds, all replicas and kinds together
-- app_per_minute              calls of all tenants in 61 seconds; they are spread evenly
-- day_allowance               calls of this tenant in 24 hours by our own count
-- day_reserve                 calls that must be left of the day by the vendor's count; 0 for a caller that may use all
-- is_webhook                  whether the call is one of the kind that webhooks cause, and not one of a pull
-- kind_allowance              calls of the caller's kind in any 61 seconds, so that neither kind takes the other's share
--
-- The last two have defaults because replicas of the release before pass the first six, by position.
--
-- decision                    'go'       the call is counted; it may be made in `seconds` seconds (at most 0.25) and
--                                        counts from the instant `slot`
--                             'wait'     the minute is used up: ask again in `seconds` seconds
--                             'blocked'  the vendor answered 429: ask again in `seconds` seconds
--                             'day'      the day is used up: it ends in `seconds` seconds
--
-- A caller that has to wait reserves nothing, so a caller that dies or gives up wastes no call. A slot counts for 61
-- seconds because the vendor counts arrivals: a call may travel up to a second faster than the one before it.
CREATE FUNCTION take_call(
  for_vendor text, for_tenant_id text, minute_allowance int, app_per_minute int, day_allowance int, day_reserve int,
  is_webhook boolean DEFAULT false, kind_allowance int DEFAULT NULL,
  OUT decision text, OUT seconds double precision, OUT slot timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
  slot_length constant interval := '61 seconds';
  day_length constant interval := '24 hours';
  probe_interval constant interval := '1 hour';
  longest_delay constant double precision := 0.25;
  tenant_budget sync_budgets;
  app_budget sync_budgets;
  decided_at timestamptz;
  paused_until timestamptz;
  allowed_at timestamptz;
  slots_in_use int;
  slots_of_kind timestamptz[];
BEGIN
  INSERT INTO sync_budgets (vendor, tenant_id) VALUES (for_vendor, for_tenant_id), (for_vendor, '')
    ON CONFLICT DO NOTHING;
  -- The tenant's row is locked before the app's, by every caller, so that two callers cannot deadlock.
  SELECT * INTO tenant_budget FROM sync_budgets WHERE vendor = for_vendor AND tenant_id = for_tenant_id FOR UPDATE;
  SELECT * INTO app_budget FROM sync_budgets WHERE vendor = for_vendor AND tenant_id = '' FOR UPDATE;
  -- Read after the locks are held: the time spent waiting for them has passed.
  decided_at := wall_clock();

  -- A 429 pauses the tenant, or the whole app.
  paused_until := greatest(tenant_budget.blocked_until, app_budget.blocked_until);
  IF paused_until > decided_at THEN
    decision := 'blocked';
    seconds := extract(epoch FROM paused_until - decided_at);
    RETURN;
  END IF;

  -- The day: it begins with the first call after the day before it has ended.
  IF tenant_budget.day_started_at IS NULL OR decided_at >= tenant_budget.day_started_at + day_length THEN
    tenant_budget.day_started_at := decided_at;
    tenant_budget.day_calls := 0;
    tenant_budget.day_remaining := NULL;
    tenant_budget.day_probed_at := NULL;
  END IF;
  IF tenant_budget.day_calls >= day_allowance OR tenant_budget.day_remaining <= day_reserve THEN
    -- The vendor's day is a fixed window and the vendor does not say when it ends: once an hour a single call is
    -- let through, whose answer shows whether a new day has begun.
    IF day_reserve = 0 OR coalesce(tenant_budget.day_probed_at, decided_at) > decided_at - probe_interval THEN
      UPDATE sync_budgets SET day_probed_at = coalesce(day_probed_at, decided_at)
        WHERE vendor = for_vendor AND tenant_id = for_tenant_id AND day_probed_at IS NULL;
      decision := 'day';
      seconds := extract(epoch FROM tenant_budget.day_started_at + day_length - decided_at);
      RETURN;
    END IF;
    tenant_budget.day_probed_at := decided_at;
  END IF;

  -- The minute: a call is allowed once fewer than minute_allowance slots are in use, fewer than kind_allowance of them
  -- by calls of its own kind, and the app's rate permits it.
  tenant_budget.slots := coalesce((SELECT array_agg(used_slot ORDER BY used_slot)
                                   FROM unnest(tenant_budget.slots) AS used_slot
                                   WHERE used_slot > decided_at - slot_length), '{}');
  tenant_budget.webhook_slots := coalesce((SELECT array_agg(used_slot ORDER BY used_slot)
                                           FROM unnest(tenant_budget.webhook_slots) AS used_slot
                                           WHERE used_slot > decided_at - slot_length), '{}');
  slots_of_kind := coalesce((SELECT array_agg(used_slot ORDER BY used_slot)
                             FROM unnest(tenant_budget.slots) AS used_slot
                             WHERE (used_slot = ANY (tenant_budget.webhook_slots)) = is_webhook), '{}');
  slots_in_use := cardinality(tenant_budget.slots);
  allowed_at := greatest(decided_at, app_budget.free_at);
  IF slots_in_use >= minute_allowance THEN
    allowed_at := greatest(allowed_at, tenant_budget.slots[slots_in_use - minute_allowance + 1] + slot_length);
  END IF;
  slots_in_use := cardinality(slots_of_kind);
  IF slots_in_use >= kind_allowance THEN
    allowed_at := greatest(allowed_at, slots_of_kind[slots_in_use - kind_allowance + 1] + slot_length);
  END IF;
  seconds := extract(epoch FROM allowed_at - decided_at);
  IF seconds > longest_delay THEN
    decision := 'wait';
    RETURN;
  END IF;

  UPDATE sync_budgets
    SET slots = tenant_budget.slots || allowed_at,
        webhook_slots = CASE WHEN is_webhook THEN tenant_budget.webhook_slots || allowed_at
                             ELSE tenant_budget.webhook_slots END,
        day_started_at = tenant_budget.day_started_at,
        day_calls = tenant_budget.day_calls + 1, day_remaining = tenant_budget.day_remaining,
        day_probed_at = tenant_budget.day_probed_at
    WHERE vendor = for_vendor AND tenant_id = for_tenant_id;
  UPDATE sync_budgets SET free_at = allowed_at + slot_length / app_per_minute
    WHERE vendor = for_vendor AND tenant_id = '';
  decision := 'go';
  slot := allowed_at;
END
$$
