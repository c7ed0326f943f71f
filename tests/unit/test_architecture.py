"""The house's rules that no linter holds."""

import ast
import re

import pytest

from tests.support.paths import ROOT

MODULES = sorted(path for folder in ("app", "simulator") for path in (ROOT / folder).rglob("*.py"))
ROOMS = {"billing", "sync", "connections", "api"}
NEUTRAL = [path for path in MODULES if ROOMS & set(path.relative_to(ROOT).parts[1:2])]
# Names that others rely on, whatever the vendor: a table, a banner's code, the command,
# and the values of `source` and a link as the documentation's examples.
FIXED_NAMES = re.compile(
    r"xero_webhook_events|xero_unavailable"
    r"|vectis-xero|^xero$|^https://go\.xero\.com/…$"
)


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_stays_under_four_hundred_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", NEUTRAL, ids=name_of)
def test_neutral_rooms_speak_of_no_vendor(path):
    """Comments and docstrings may say where a rule comes from; the code may not know it."""
    tree = ast.parse(path.read_text())
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docstrings]
    words += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    words += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    vendor = [word for word in words if isinstance(word, str) and "xero" in FIXED_NAMES.sub("", word).lower()]
    assert vendor == []


def test_only_the_composition_root_names_a_vendor():
    importers = [name_of(path) for path in MODULES if re.search(r"^from app\.xero", path.read_text(), re.MULTILINE)]
    assert [path for path in importers if not path.startswith("app/xero/")] == ["app/main.py"]


TEST_MODULES = sorted((ROOT / "tests").rglob("*.py"))


def modules_imported_from_tests(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tests."))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("tests."):
            is_package = ROOT.joinpath(*str(node.module).split(".")).is_dir()
            yield from {f"{node.module}.{alias.name}" if is_package else node.module for alias in node.names}


@pytest.mark.parametrize("path", TEST_MODULES, ids=name_of)
def test_no_test_module_or_conftest_is_imported(path):
    """Helpers are in tests/support, or beside the tests of the one folder that uses them."""
    own_package = ".".join(path.relative_to(ROOT).parts[:-1])
    forbidden = []
    for module in modules_imported_from_tests(path):
        package, _, name = module.rpartition(".")
        is_helper = package == own_package and name != "conftest" and not name.startswith("test_")
        if not module.startswith("tests.support.") and not is_helper:
            forbidden.append(module)
    assert forbidden == []
