"""Normalising company names: two names with the same key are the same name, though perhaps of two companies.

The steps, in order:

1. Trade mark signs and invisible characters are removed, compatibility forms are folded (NFKC), case is folded.
2. Accents are removed from Latin letters, and letters such as ø, ł, æ are spelled out. Other scripts are left as they
   are: the first letter of the Cyrillic alphabet is not a Latin "a", although it looks the same.
3. "&" becomes "and". Apostrophes are removed, and dots and slashes between single letters: "S.A." becomes "sa".
4. Every other character that is neither a letter nor a digit separates words. Words are never joined: "Data Com" is not
   "Datacom".
5. A leading "the" is removed, then legal forms at the end, one after the other, as long as a word is left. After "and",
   "co" and "company" are part of the name ("Smith & Co") and become "co".

A name without letters and digits is its own key, without spaces; a blank name has the empty key, which matches nothing.

A short legal form may be something else: "SA" is South Australia, "NV" Nevada, "Ag" agriculture, "AS" a word. So
`match_key`, by which names are matched without a person, removes only the forms that mean nothing else, and
`remove_short_forms` tells whether two names are equal but for such a form.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable

TRADE_MARKS = re.compile("[™℠®©]")
APOSTROPHES = re.compile("['`\u2018\u2019\u02bc\u00b4]")
INITIALS = re.compile(r"(?<![^\W_])(?:[^\W\d_][./])+(?:[^\W\d_](?![^\W_]))?[./]?")
ASCII_WORDS = re.compile("[a-z0-9]+")
SPELLED_OUT = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"}
)
LAST_LATIN_LETTER = "\u024f"
COMBINING_ACCENTS = ("\u0300", "\u036f")

LEGAL_FORMS = frozenset(
    {"ltd", "limited", "pty", "proprietary", "pl", "llc", "inc", "incorporated", "corp", "corporation", "co", "company"}
    | {"plc", "llp", "lp", "ulc", "cic", "gmbh", "mbh", "ag", "kg", "ug", "sa", "sas", "sarl", "srl", "bv", "nv"}
    | {"ab", "as", "aps", "oy", "oyj", "pte", "pvt", "private"}
)
COMPANY_PHRASES = (("gmbh", "and", "co", "kg"), ("gmbh", "and", "co"), ("and", "co", "kg"))
SPACED_FORMS = (("s", "a"), ("b", "v"))
# Every legal form of two letters is also the code of a region, a trade or a word; the longer ones here are as well:
# "Day Spa", "Ramsay Private" (a hospital), SAS, APS.
SHORT_FORMS = frozenset(
    {"ab", "ag", "as", "bv", "co", "company", "kg", "lp", "nv", "oy", "pl", "sa", "ug", "sas", "aps", "private"}
    | {"ad", "ev", "kk", "ou", "pa", "pc", "sc", "se", "sl", "spa"}
)
CLEAR_FORMS = LEGAL_FORMS - SHORT_FORMS
CLEAR_PHRASES = (*COMPANY_PHRASES, ("private", "limited"), ("private", "ltd"))
# "P/L" is a proprietary limited company in Australia, while "PL" may be a place.
PROPRIETARY_LIMITED = re.compile(r"(?<=\w)[\s,(]+p/l[.)\s]*$", re.IGNORECASE)
ABBREVIATIONS = {
    "company": "co",
    "corporation": "corp",
    "incorporated": "inc",
    "limited": "ltd",
    "private": "pte",
    "proprietary": "pty",
    "pvt": "pte",
}


def name_key(name: str) -> str:
    """Return the key of a company's name, as the module's docstring describes it."""
    phrases = (*COMPANY_PHRASES, *SPACED_FORMS)
    return " ".join(_remove_legal_forms(_words(name), LEGAL_FORMS, phrases)) or _without_words(name)


def match_key(name: str) -> str:
    """Return the name key with those words at its end that may or may not be a legal form."""
    words = _remove_legal_forms(_words(PROPRIETARY_LIMITED.sub(" Pty Ltd", name)), CLEAR_FORMS, CLEAR_PHRASES)
    return " ".join(_abbreviate_end(words)) or _without_words(name)


def full_name_key(name: str) -> str:
    """Return the name without case, accents and punctuation, with its legal forms abbreviated."""
    words = [ABBREVIATIONS.get(word, word) for word in _words(PROPRIETARY_LIMITED.sub(" Pty Ltd", name))]
    return " ".join(_abbreviate_end(words)) or _without_words(name)


def remove_short_forms(key: str) -> str:
    """Return a key without the words at its end that may be a legal form, as long as a word is left."""
    return " ".join(_remove_legal_forms(key.split(), LEGAL_FORMS | SHORT_FORMS, ()))


def _words(name: str) -> list[str]:
    folded = name.lower() if name.isascii() else _fold(name)
    spelled = INITIALS.sub(_join_initials, APOSTROPHES.sub("", folded.replace("&", " and ")))
    return _remove_article(_split(spelled))


def _without_words(name: str) -> str:
    """Return the key of a name that has no letter and no digit."""
    return "".join((name.lower() if name.isascii() else _fold(name)).split())


def _abbreviate_end(words: list[str]) -> list[str]:
    """Write the short form at the end in one way: "S A" as "sa", and "company" as "co"."""
    if len(words) > 2 and tuple(words[-2:]) in SPACED_FORMS:  # noqa: PLR2004 - a word must be left
        return [*words[:-2], "".join(words[-2:])]
    return [*words[:-1], "co"] if len(words) > 1 and words[-1] == "company" else words


def _fold(name: str) -> str:
    visible = TRADE_MARKS.sub("", "".join(letter for letter in name if unicodedata.category(letter) != "Cf"))
    return _fold_accents(unicodedata.normalize("NFKC", visible).casefold()).translate(SPELLED_OUT)


def _fold_accents(text: str) -> str:
    kept: list[str] = []
    base = ""
    for letter in unicodedata.normalize("NFD", text):
        is_accent = COMBINING_ACCENTS[0] <= letter <= COMBINING_ACCENTS[1]
        if is_accent and base <= LAST_LATIN_LETTER:
            continue
        base = base if is_accent else letter
        kept.append(letter)
    return unicodedata.normalize("NFC", "".join(kept))


def _join_initials(match: re.Match[str]) -> str:
    return match[0].replace(".", "").replace("/", "") + " "


def _split(text: str) -> list[str]:
    if text.isascii():
        return ASCII_WORDS.findall(text)
    return "".join(letter if _is_word_character(letter) else " " for letter in text).split()


def _is_word_character(letter: str) -> bool:
    # Vowel signs of Indian scripts are marks, not letters, and belong to the word.
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def _remove_article(words: list[str]) -> list[str]:
    return words[1:] if len(words) > 1 and words[0] == "the" else words


def _remove_legal_forms(words: list[str], forms: Collection[str], phrases: Iterable[tuple[str, ...]]) -> list[str]:
    while (length := _trailing_legal_form_length(words, forms, phrases)) and length < len(words):
        words = words[:-length]
    if words[-2:-1] == ["and"] and words[-1] == "company":
        words = [*words[:-1], "co"]
    return words


def _trailing_legal_form_length(words: list[str], forms: Collection[str], phrases: Iterable[tuple[str, ...]]) -> int:
    """Return how many words at the end are one legal form; 0 for none."""
    for phrase in phrases:
        if tuple(words[-len(phrase) :]) == phrase:
            return len(phrase)
    if not words or words[-1] not in forms:
        return 0
    is_part_of_the_name = words[-1] in {"co", "company"} and words[-2:-1] == ["and"]
    return 0 if is_part_of_the_name else 1
