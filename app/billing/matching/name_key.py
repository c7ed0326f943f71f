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
"""

import re
import unicodedata

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
LEGAL_PHRASES = (
    ("gmbh", "and", "co", "kg"),
    ("gmbh", "and", "co"),
    ("and", "co", "kg"),
    ("s", "a"),
    ("b", "v"),
)


def name_key(name: str) -> str:
    """Return the key of a company's name, as the module's docstring describes it."""
    folded = name.lower() if name.isascii() else _fold(name)
    spelled = INITIALS.sub(_join_initials, APOSTROPHES.sub("", folded.replace("&", " and ")))
    return " ".join(_remove_legal_forms(_remove_article(_split(spelled)))) or "".join(folded.split())


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


def _remove_legal_forms(words: list[str]) -> list[str]:
    while (length := _trailing_legal_form_length(words)) and length < len(words):
        words = words[:-length]
    if words[-2:-1] == ["and"] and words[-1] == "company":
        words = [*words[:-1], "co"]
    return words


def _trailing_legal_form_length(words: list[str]) -> int:
    """Return how many words at the end are one legal form; 0 for none."""
    for phrase in LEGAL_PHRASES:
        if tuple(words[-len(phrase) :]) == phrase:
            return len(phrase)
    if not words or words[-1] not in LEGAL_FORMS:
        return 0
    is_part_of_the_name = words[-1] in {"co", "company"} and words[-2:-1] == ["and"]
    return 0 if is_part_of_the_name else 1
