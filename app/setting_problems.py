"""What is wrong with the settings, in sentences: values that cannot be used, and names that nobody reads."""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

# What a value must be, by the type of pydantic's error; `{…}` are the members of its context.
EXPECTATIONS: Mapping[str, str] = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_pattern_mismatch": "must be an address such as https://billing.example.com, without ? and #",
}
# Names that begin so are meant for this service.
PREFIX = "XERO_"
SIMILARITY = 0.75


def describe_error(error: ErrorDetails, is_secret: Callable[[str], bool]) -> str:
    """Return one sentence about a value that pydantic refused; it repeats the value unless that is a secret."""
    field = str(error["loc"][0]) if error["loc"] else ""
    context: Mapping[str, Any] = error.get("ctx", {})
    expectation = EXPECTATIONS.get(error["type"])
    reason = expectation.format(**context) if expectation else error["msg"].removeprefix("Value error, ")
    found = f", and is {str(error['input'])[:80]!r}" if expectation and not is_secret(field) else ""
    return f"{field.upper()}: {reason}{found}."


def describe_unknown_names(given: Iterable[str], known: Collection[str]) -> list[str]:
    """Return a sentence about each name that begins with `XERO_` and is no setting, with the setting it may mean.

    Args:
        given: the names of variables.
        known: the names of all settings, those ending in `_FILE` included.
    """
    unknown = sorted({name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known})
    sentences = []
    for name in unknown:
        similar = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=SIMILARITY)
        hint = f"; did you mean {similar[0]}?" if similar else "."
        sentences.append(f"{name} is no setting and has no effect{hint}")
    return sentences
