"""The version of this release, which `pyproject.toml` alone states."""

from importlib.metadata import version

VERSION = version("vectis-xero")
