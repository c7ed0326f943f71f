"""Rules of the architecture that no linter checks."""

import ast
import re
from enum import StrEnum

import pytest

from app.connections import states
from tests.support.paths import ROOT

MODULES = sorted(path for folder in ("app", "simulator") for path in (ROOT / folder).rglob("*.py"))
NEUTRAL_PACKAGES = {"billing", "sync", "connections", "api"}
NEUTRAL_MODULES = [path for path in MODULES if NEUTRAL_PACKAGES & set(path.relative_to(ROOT).parts[1:2])]
ROUTES = sorted((ROOT / "app" / "api" / "integrations").glob("*.py"))
CONNECTIONS = [path for path in sorted((ROOT / "app" / "connections").glob("*.py")) if path.name != "states.py"]
# Names that others rely on, whatever the vendor: a table, a banner's code, the command,
# and the values of `source` and a link as the documentation's examples.
FIXED_NAMES = re.compile(
    r"xero_webhook_events|xero_unavailable"
    r"|vectis-xero|^xero$|^https://go\.xero\.com/…$"
)
ENGINE_PARTS = {"config", "connector", "plan", "sealer", "settings", "tokens"}
STATES = {
    str(state)
    for enum in vars(states).values()
    if isinstance(enum, type) and issubclass(enum, StrEnum)
    for state in enum
}


def name_of(path):
    return str(path.relative_to(ROOT))


def strings_of(tree):
    """Return every string constant of a module that is no docstring."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docstrings]
    return [node.value for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_stays_under_four_hundred_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", NEUTRAL_MODULES, ids=name_of)
def test_no_neutral_package_names_a_vendor(path):
    """Comments and docstrings may say where a rule comes from; the code may not depend on it."""
    tree = ast.parse(path.read_text())
    words = strings_of(tree)
    words += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    words += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert [word for word in words if "xero" in FIXED_NAMES.sub("", word).lower()] == []


@pytest.mark.parametrize("path", ROUTES, ids=name_of)
def test_no_route_uses_the_parts_of_an_engine(path):
    attributes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    of_engine = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "engine"}
    assert of_engine & ENGINE_PARTS == set()


@pytest.mark.parametrize("path", CONNECTIONS, ids=name_of)
def test_no_state_of_a_connection_is_written_as_a_bare_string(path):
    assert [text for text in strings_of(ast.parse(path.read_text())) if text in STATES] == []


def test_only_the_composition_root_and_the_check_of_its_settings_import_a_vendor():
    importers = [name_of(path) for path in MODULES if re.search(r"^from app\.xero", path.read_text(), re.MULTILINE)]
    assert [path for path in importers if not path.startswith("app/xero/")] == [
        "app/main.py",
        "app/prepared_settings.py",
    ]


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
