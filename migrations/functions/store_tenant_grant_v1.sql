-- Trigger function of tenants: stores that the grant a row names reaches the tenant. Replicas of the version before write
-- tenants.grant_id alone; without it the tenants of a consent that they finish would have no row in tenant_grants.
CREATE FUNCTION store_tenant_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tenant_grants AS known (vendor, tenant_id, grant_id, connection_id, consent_id)
  VALUES (NEW.vendor, NEW.tenant_id, NEW.grant_id, NEW.connection_id, NEW.consent_id)
  ON CONFLICT (grant_id, tenant_id) DO UPDATE
    SET connection_id = excluded.connection_id, consent_id = excluded.consent_id, listed_at = excluded.listed_at,
        lost_at = NULL, refused_at = NULL
    WHERE known.lost_at IS NOT NULL;
  RETURN NULL;
END
$$
