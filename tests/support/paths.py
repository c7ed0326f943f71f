"""Folders that tests read from."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
# Xero's own specifications; whoever has only the repository does not have them, and tests of them are skipped.
XERO_OPENAPI = ROOT.parent / "shared" / "xero" / "openapi"
# Public reports of what Xero answered or people met, one file for each.
INPUTS = ROOT / "tests" / "inputs"
