"""The identity service: users, scopes, consents, tokens, and connections of users to tenants."""
