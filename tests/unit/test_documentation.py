"""The documentation names only tests that exist, and what it says of the lock files is true."""

import ast
import functools
import re

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
PROMISES = re.findall(r"^\| (?!promise|---)(.+) \| (.+) \|$", PAGE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@functools.cache
def functions_of(path):
    """Return the names of the functions of a module, which is not imported."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_every_test_that_the_page_about_security_names_exists(path, name):
    assert name.startswith("test_")
    assert name in functions_of(path)


def test_every_promise_about_security_names_what_holds_it():
    assert len(PROMISES) > 30
    for promise, tests in PROMISES:
        assert re.fullmatch(r"`tests/[\w/]+\.py::\w+`(?:, `tests/[\w/]+\.py::\w+`)*", tests), promise


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_dependency_is_locked_with_hashes_and_without_addresses(name):
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 40
    for entry in entries:
        assert re.match(r"[a-z0-9-]+(?:\[[a-z0-9,-]+\])?==\S+", entry)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    assert "://" not in text
