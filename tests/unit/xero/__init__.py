"""Tests of the Xero room: no network, no database, no clock."""
