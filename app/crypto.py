"""Encrypts secrets at rest with AES-256-GCM under a named key, bound to the row and column they are stored in."""

import base64
import binascii
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "v1"
NONCE_BYTES = 12


class SealBroken(RuntimeError):
    """A sealed value cannot be decrypted: its key is not configured, or it was altered or copied to another row."""


class Sealer:
    """Encrypts (seals) with the newest key and decrypts (opens) with any configured key.

    Args:
        keys: 32-byte keys by key id, newest first; at least one.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = next(iter(keys))

    def seal(self, secret: str, associated_data: str) -> str:
        """Encrypt a secret and return its envelope, `v1.<key id>.<base64url(nonce + ciphertext)>`.

        Args:
            secret: the text to encrypt.
            associated_data: `table/row/column`. `open` must be given the same text, so that an envelope copied to
                another row or column is refused.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._ciphers[self._newest].encrypt(nonce, secret.encode(), associated_data.encode())
        return f"{VERSION}.{self._newest}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, envelope: str, associated_data: str) -> str:
        """Decrypt an envelope and return the secret.

        Raises:
            SealBroken: no key of the envelope's id is configured, or the envelope was altered or sealed with other
                associated data.
        """
        version, _, rest = envelope.partition(".")
        key_id, _, encoded = rest.partition(".")
        cipher = self._ciphers.get(key_id)
        if version != VERSION or cipher is None:
            raise SealBroken(
                f"{associated_data} is sealed with the key {key_id!r}, which ENCRYPTION_KEYS does not hold."
            )
        try:
            sealed = base64.urlsafe_b64decode(encoded)
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated_data.encode()).decode()
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise SealBroken(
                f"{associated_data} was altered or belongs to another row; connect again to replace it."
            ) from error

    def try_open(self, envelope: str, associated_data: str) -> str | None:
        """Decrypt an envelope; return None where it cannot be decrypted and therefore counts as absent."""
        try:
            return self.open(envelope, associated_data)
        except SealBroken:
            return None

    def missing_key(self, envelope: str) -> str | None:
        """Return the id of the key that an envelope needs and that is not configured; None otherwise.

        An envelope that is not of the form at all needs no key: it was altered.
        """
        version, _, rest = envelope.partition(".")
        key_id, separator, _ = rest.partition(".")
        is_well_formed = version == VERSION and separator and key_id.isalnum()
        return key_id if is_well_formed and key_id not in self._ciphers else None

    @property
    def newest_key(self) -> str:
        """The id of the key that `seal` uses."""
        return self._newest

    def is_newest(self, envelope: str) -> bool:
        """Return whether the envelope was sealed with the newest key; if not, key rotation seals it again."""
        return envelope.startswith(f"{VERSION}.{self._newest}.")
