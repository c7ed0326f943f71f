"""The key that names are compared by: equal keys are one name, which is not yet to say one company.

In order:

1. Trade marks and invisible characters go; compatibility forms are folded (NFKC) and case is dropped.
2. Accents go from Latin letters, and letters such as ø, ł, æ are spelled out. Other scripts stay as they are: the first
   letter of the Cyrillic alphabet is not a Latin "a", whatever it looks like.
3. "&" is "and". Apostrophes go without a gap. Dots and slashes between single letters go, so "S.A." is "sa".
4. Whatever is neither letter nor digit is a space, and spaces are one. Words stay apart: "Data Com" is not "Datacom".
5. A leading "the" goes, then legal forms at the end, one after the other, as long as a word is left. After "and",
   "co" and "company" are part of the name ("Smith & Co") and are spelled "co".

A name without letters and digits is its own key, without spaces; a blank one has the empty key, which equals nothing.
"""

import re
import unicodedata

MARKS = re.compile("[™℠®©]")
APOSTROPHES = re.compile("['`\u2018\u2019\u02bc\u00b4]")
INITIALS = re.compile(r"(?<![^\W_])(?:[^\W\d_][./])+(?:[^\W\d_](?![^\W_]))?[./]?")
ASCII_WORDS = re.compile("[a-z0-9]+")
SPELLED_OUT = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"}
)
LAST_LATIN = "\u024f"
ACCENTS = ("\u0300", "\u036f")

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
    """Return the key of a company's name, as described above."""
    folded = name.lower() if name.isascii() else _fold(name)
    spelled = INITIALS.sub(_join_initials, APOSTROPHES.sub("", folded.replace("&", " and ")))
    return " ".join(_drop_legal_forms(_drop_article(_split(spelled)))) or "".join(folded.split())


def _fold(name: str) -> str:
    visible = MARKS.sub("", "".join(letter for letter in name if unicodedata.category(letter) != "Cf"))
    return _fold_accents(unicodedata.normalize("NFKC", visible).casefold()).translate(SPELLED_OUT)


def _fold_accents(text: str) -> str:
    kept: list[str] = []
    base = ""
    for letter in unicodedata.normalize("NFD", text):
        is_accent = ACCENTS[0] <= letter <= ACCENTS[1]
        if is_accent and base <= LAST_LATIN:
            continue
        base = base if is_accent else letter
        kept.append(letter)
    return unicodedata.normalize("NFC", "".join(kept))


def _join_initials(match: re.Match[str]) -> str:
    return match[0].replace(".", "").replace("/", "") + " "


def _split(text: str) -> list[str]:
    if text.isascii():
        return ASCII_WORDS.findall(text)
    return "".join(letter if _is_of_a_word(letter) else " " for letter in text).split()


def _is_of_a_word(letter: str) -> bool:
    # Vowel signs of Indian scripts are marks, not letters, and still part of the word.
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def _drop_article(words: list[str]) -> list[str]:
    return words[1:] if len(words) > 1 and words[0] == "the" else words


def _drop_legal_forms(words: list[str]) -> list[str]:
    while (length := _legal_form_at_the_end(words)) and length < len(words):
        words = words[:-length]
    if words[-2:-1] == ["and"] and words[-1] == "company":
        words = [*words[:-1], "co"]
    return words


def _legal_form_at_the_end(words: list[str]) -> int:
    for phrase in LEGAL_PHRASES:
        if tuple(words[-len(phrase) :]) == phrase:
            return len(phrase)
    if not words or words[-1] not in LEGAL_FORMS:
        return 0
    is_part_of_the_name = words[-1] in {"co", "company"} and words[-2:-1] == ["and"]
    return 0 if is_part_of_the_name else 1
