"""Name keys: which names have the same key, which have different keys, and which are only similar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.matching.candidates import MIN_SIMILARITY, compare_names
from app.billing.matching.name_key import full_name_key, match_key, name_key, remove_short_forms

EQUAL = [
    ("Acme", "ACME"),
    ("Acme", "  Acme  "),
    ("Acme Ltd", "Acme Limited"),
    ("Acme Ltd", "Acme Ltd."),
    ("Acme", "Acme, Ltd."),
    ("Acme Pty Ltd", "Acme Proprietary Limited"),
    ("Acme Pty. Ltd.", "ACME PTY LTD"),
    ("Acme P/L", "Acme Pty Ltd"),
    ("Acme LLC", "Acme L.L.C."),
    ("Acme Inc", "Acme, Inc."),
    ("Acme Inc.", "Acme Incorporated"),
    ("Acme Corp", "Acme Corporation"),
    ("Acme GmbH", "ACME Gmbh"),
    ("Acme GmbH & Co. KG", "Acme"),
    ("Acme PLC", "Acme P.L.C."),
    ("Acme LLP", "Acme"),
    ("Acme S.A.", "Acme SA"),
    ("Acme S. A.", "Acme S.A"),
    ("Acme B.V.", "Acme BV"),
    ("Acme AG", "Acme"),
    ("Acme A/S", "Acme AS"),
    ("Acme Company", "Acme Co"),
    ("Acme Co Ltd", "Acme Co., Limited"),
    ("The Acme Group", "Acme Group"),
    ("The Acme Group Ltd", "ACME GROUP"),
    ("Smith & Sons", "Smith and Sons"),
    ("Smith&Sons", "Smith And Sons"),
    ("Smith & Co", "Smith and Company Ltd"),
    ("O'Brien Plumbing", "OBrien Plumbing"),
    ("O\u2019Brien Plumbing", "O'Brien Plumbing"),
    ("I.B.M.", "IBM"),
    ("J. R. Hartley", "J R Hartley"),
    ("Bright-Path", "Bright Path"),
    ("Bright  Path", "Bright\u00a0Path"),
    ("Bright_Path", "Bright/Path"),
    ("Caf\u00e9 No\u00ebl", "Cafe Noel"),
    ("Cafe\u0301", "Caf\u00e9"),
    ("M\u00fcller", "MULLER"),
    ("Stra\u00dfe AG", "STRASSE"),
    ("S\u00f8rensen ApS", "Sorensen"),
    ("\u0141\u00f3d\u017a Sp\u00f3\u0142ka", "Lodz Spolka"),
    ("\u0130stanbul", "Istanbul"),
    ("\uff21\uff43\uff4d\uff45", "Acme"),
    ("Acme\u2122", "Acme"),
    ("Acme\u200b", "Acme"),
    ("Te W\u0101nanga", "Te Wananga"),
    ("Acme (NZ) Ltd", "Acme NZ"),
    ("The Company", "Company"),
    ("Acme GmbH & Co", "Acme"),
    ("Smith & Co KG", "Smith"),
    ("A.B.Smith", "AB Smith"),
    ("Cr\u00e8me", "Creme"),
    ("Vi\u1ec7t", "Viet"),
    ("A\u036fcme", "Acme"),
    ("\u0301Acme", "Acme"),
    ("\u024f\u0301", "\u024f"),
    ("\u041a\u0430\u0444\u0435-\u0411\u0430\u0440", "\u041a\u0430\u0444\u0435 \u0411\u0430\u0440"),
]
DIFFERENT = [
    ("Acme", "Acne"),
    ("Acme", "Acme Holdings"),
    ("Acme NZ", "Acme AU"),
    ("Acme 1", "Acme 2"),
    ("Smith & Co", "Smith"),
    ("Smith and Jones", "Smith Jones"),
    ("Theatre Royal", "Royal"),
    ("Limited", "Ltd"),
    ("Coast", "Ast"),
    ("Acme Day Spa", "Acme Day"),
    ("Data Com", "Datacom"),
    ("M\u00fcller", "Mueller"),
    # In each of these some letters of the second name are Cyrillic or Greek.
    ("Acme", "\u0410cme"),
    ("Acme", "\u0410\u0441m\u0435"),
    ("Pear", "\u0420\u0435\u0430r"),
    ("Oscar", "\u039fscar"),
    ("\u0439", "\u0438"),
    ("\u304c", "\u304b"),
    ("!!!", "???"),
    ("A.B. Ltd", "A C Ltd"),
]
# Equal but for a form that means nothing else: matched without a person.
MATCHING = [
    ("Acme Ltd", "Acme"),
    ("Acme P/L", "Acme Pty Ltd"),
    ("Acme p/l.", "Acme"),
    ("Acme (P/L)", "Acme"),
    ("Acme GmbH & Co. KG", "Acme"),
    ("Acme Private Limited", "Acme Pte Ltd"),
    ("Acme Private Ltd", "Acme"),
    ("Acme Inc.", "ACME Incorporated"),
    ("Acme PLC", "Acme LLP"),
    ("Acme SA", "Acme S.A."),
    ("Acme S. A.", "Acme SA"),
    ("Acme B V", "Acme B.V."),
    ("Acme A/S", "Acme AS"),
    ("Acme Company", "Acme Co"),
    ("Acme Co Ltd", "Acme Co., Limited"),
    ("Acme SA Pty Ltd", "Acme SA"),
    ("Smith & Co", "Smith and Company Ltd"),
    ("The Company", "Company"),
    ("The Co", "Co"),
    ("Acme Trading Company", "Acme Trading Co"),
]
# Equal but for a word that may be a legal form, a word, a region or a trade: a person is asked.
ASKED = [
    ("Surf Life Saving SA", "Surf Life Saving"),
    ("Hunter Ag", "Hunter"),
    ("Acme AB", "Acme"),
    ("Acme NV", "Acme"),
    ("Acme AS", "Acme"),
    ("Acme SE", "Acme"),
    ("Acme Co", "Acme"),
    ("Acme Company", "Acme"),
    ("Hunter PC", "Hunter"),
    ("Acme PL", "Acme"),
    ("Acme S. A.", "Acme"),
    ("Acme A/S", "Acme Ltd"),
    ("Ramsay Private", "Ramsay"),
    ("Acme Day Spa", "Acme Day"),
    ("Acme SA", "Acme NV"),
    ("Acme SA Pty Ltd", "Acme Pty Ltd"),
    ("Acme Ltd SA", "Acme"),
    ("Acme Ltd SE", "Acme"),
]
# Not the same name, and near enough for a person to be asked.
AMBIGUOUS = [
    ("Acme", "Acme Holdings"),
    ("Data Com", "Datacom"),
    ("M\u00fcller", "Mueller"),
    ("Smith & Co", "Smith"),
    ("Brightpath Dental", "Brightpath Dental Care"),
    ("Northwind Traders", "Northwind Trader"),
    ("Wellington Law Partners", "Law Partners Wellington"),
    ("Kiwi Print", "Kiwi Printing"),
    ("Harbour View Motel", "Harbor View Motel"),
]


# What each legal form at the end of a name does: a clear one never counts, a short one prevents a match, and a word
# that is a form in some countries alone belongs to the name until a person decides.
CLEAR = (
    "ltd limited pty proprietary llc inc incorporated corp corporation plc llp ulc cic gmbh mbh sarl srl oyj pte pvt"
)
SHORT = "ab ag as bv co kg lp nv oy pl sa ug sas aps private"
DOUBTFUL = "ad ev kk ou pa pc sc se sl spa"
SPELLED_OUT = [
    ("S\u00f8ren", "soren"),
    ("\u0141uk", "luk"),
    ("\u0110or\u0111e", "dorde"),
    ("Gar\u00f0ar", "gardar"),
    ("\u00deor", "thor"),
    ("\u00c6gir", "aegir"),
    ("C\u0153ur", "coeur"),
    ("Is\u0131k", "isik"),
    ("\u0126al", "hal"),
]


@pytest.mark.parametrize("form", CLEAR.split())
def test_a_clear_legal_form_is_no_part_of_either_key(form):
    assert name_key(f"Acme {form}") == match_key(f"Acme {form}") == "acme"


@pytest.mark.parametrize("form", SHORT.split())
def test_a_short_legal_form_is_part_of_the_match_key_alone(form):
    assert (name_key(f"Acme {form}"), match_key(f"Acme {form}")) == ("acme", f"acme {form}")


@pytest.mark.parametrize("form", DOUBTFUL.split())
def test_a_word_that_is_seldom_a_legal_form_is_removed_where_short_forms_are_compared(form):
    assert name_key(f"Acme {form}") == match_key(f"Acme {form}") == f"acme {form}"
    assert remove_short_forms(f"acme {form}") == "acme"


@pytest.mark.parametrize(("name", "key"), SPELLED_OUT)
def test_letters_without_a_plain_form_are_spelled_out(name, key):
    assert name_key(name) == key


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_names_that_are_the_same_have_one_key(one, other):
    assert name_key(one) == name_key(other) != ""


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_that_differ_have_two_keys(one, other):
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize(("one", "other"), MATCHING)
def test_a_form_that_means_nothing_else_never_prevents_a_match(one, other):
    assert match_key(one) == match_key(other) != ""


@pytest.mark.parametrize(("one", "other"), ASKED)
def test_a_short_form_prevents_a_match_and_is_named_as_the_difference(one, other):
    assert match_key(one) != match_key(other)
    assert remove_short_forms(name_key(one)) == remove_short_forms(name_key(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_of_two_keys_are_not_matched_either(one, other):
    assert match_key(one) != match_key(other)


@pytest.mark.parametrize(("name", "key"), [("S A", "s a"), ("Company", "company"), ("SA", "sa")])
def test_a_name_that_is_a_legal_form_alone_is_kept(name, key):
    assert match_key(name) == key


@pytest.mark.parametrize(("name", "key"), [("GmbH & Co. KG", "gmbh and co kg"), ("The.", "the"), ("! !", "!!")])
def test_a_name_of_nothing_but_a_form_an_article_or_punctuation_keeps_it(name, key):
    assert name_key(name) == match_key(name) == key


@pytest.mark.parametrize("key", ["", "sa", "co sa", "smith and co", "!!", "acme"])
def test_removing_short_forms_leaves_a_word_and_the_name_of_a_partnership(key):
    assert remove_short_forms(key) == (key.split()[0] if key == "co sa" else key)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("The Acme, Limited", "acme ltd"),
        ("ACME Pty. Ltd.", "acme pty ltd"),
        ("Acme P/L", "acme pty ltd"),
        ("Acme Corporation", "acme corp"),
        ("Acme S. A.", "acme sa"),
        ("Acme Company", "acme co"),
        ("Acme Company Ltd", "acme co ltd"),
        ("Acme Pvt Ltd", "acme pte ltd"),
        ("Acme Private Limited", "acme pte ltd"),
        ("Acme Proprietary Limited", "acme pty ltd"),
        ("Acme Incorporated", "acme inc"),
        ("?!", "?!"),
        (" ", ""),
    ],
)
def test_the_full_name_keeps_its_legal_form_in_short(name, full):
    assert full_name_key(name) == full


@pytest.mark.parametrize(("one", "other"), AMBIGUOUS)
def test_similar_names_are_similar_and_not_equal(one, other):
    assert name_key(one) != name_key(other)
    assert compare_names(name_key(one), name_key(other)) >= MIN_SIMILARITY


@pytest.mark.parametrize(("one", "other"), [("Acme", "Zenith"), ("Kiwi Print", "Tui Brewing"), ("Acme", "\u0410cme")])
def test_unlike_names_are_not_similar(one, other):
    assert compare_names(name_key(one), name_key(other)) < MIN_SIMILARITY


@pytest.mark.parametrize("blank", ["", "   ", "\u200b", "\u00a0\t"])
def test_a_blank_name_has_the_empty_key(blank):
    assert name_key(blank) == ""


@pytest.mark.parametrize("name", ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u6f22\u5b57", "\u05e9\u05dc\u05d5\u05dd"])
def test_other_scripts_keep_their_letters_and_signs(name):
    assert name_key(f"{name} Ltd") == name


@given(st.text())
def test_any_text_has_a_key_of_single_spaces(text):
    key = name_key(text)

    assert key == " ".join(key.split())
    assert not key.isspace()
    assert (key == "") == (match_key(text) == "") == (full_name_key(text) == "")


@given(st.lists(st.sampled_from(["Acme", "&", "SA", "S.", "A.", "Co", "Ltd", "P/L", "Pty", "NV", "x"]), max_size=5))
def test_names_of_one_match_key_have_one_name_key_and_of_one_full_name_one_match_key(words):
    name = " ".join(words)

    assert name_key(match_key(name)) == name_key(name)
    assert match_key(full_name_key(name)) == match_key(name)


@given(st.text(), st.sampled_from([str.upper, str.strip, "{} ".format, "The {} Ltd".format]))
def test_case_spaces_article_and_legal_form_never_change_a_plain_name(text, dress):
    name = "".join(letter for letter in text if letter.isascii() and letter.isalnum()) + "xyz"

    assert name_key(dress(name)) == name_key(name)
