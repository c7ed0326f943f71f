"""A sealed secret can be opened only with its key and its associated data."""

import pytest

from app.crypto import SealBroken, Sealer

OLD, NEW = {"k1": b"1" * 32}, {"k2": b"2" * 32, "k1": b"1" * 32}


def test_a_sealed_secret_can_be_opened_with_the_same_associated_data():
    sealer = Sealer(NEW)
    envelope = sealer.seal("s3cret", "grants/1/access_token")
    assert envelope.startswith("v1.k2.")
    assert "s3cret" not in envelope
    assert sealer.open(envelope, "grants/1/access_token") == "s3cret"


def test_the_same_secret_is_sealed_differently_each_time():
    sealer = Sealer(NEW)
    assert len({sealer.seal("s", "p") for _ in range(100)}) == 100


def test_an_envelope_copied_to_another_row_is_refused():
    sealer = Sealer(NEW)
    envelope = sealer.seal("s", "grants/1/access_token")
    with pytest.raises(SealBroken, match="grants/2/access_token"):
        sealer.open(envelope, "grants/2/access_token")


@pytest.mark.parametrize("keep", [slice(0, -2), slice(0, 12), slice(0, 0), slice(1, None)], ids=str)
def test_a_shortened_envelope_is_refused(keep):
    sealer = Sealer(NEW)
    envelope = sealer.seal("secret", "table/row/column")[keep]
    with pytest.raises(SealBroken):
        sealer.open(envelope, "table/row/column")


def test_an_envelope_with_one_changed_character_is_refused():
    sealer = Sealer(NEW)
    envelope = sealer.seal("secret", "table/row/column")
    for at in range(len(envelope) - 4):
        changed = envelope[:at] + ("A" if envelope[at] != "A" else "B") + envelope[at + 1 :]
        with pytest.raises(SealBroken):
            sealer.open(changed, "table/row/column")


def test_older_keys_open_and_the_newest_key_seals():
    envelope = Sealer(OLD).seal("s", "p")
    sealer = Sealer(NEW)
    assert sealer.open(envelope, "p") == "s"
    assert not sealer.is_newest(envelope)
    assert sealer.is_newest(sealer.seal("s", "p"))


def test_the_error_names_a_missing_key():
    envelope = Sealer(NEW).seal("s", "p")
    with pytest.raises(SealBroken, match="'k2'"):
        Sealer(OLD).open(envelope, "p")
