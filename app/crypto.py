"""Secrets sealed at rest: AES-256-GCM under a named key, bound to the row and column they belong to."""

import base64
import binascii
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "v1"
NONCE_BYTES = 12


class SealBroken(RuntimeError):
    """A sealed value cannot be opened: its key is missing, or it was altered or moved to another row."""


class Sealer:
    """Seals with the first key and opens with any.

    Args:
        keys: 32-byte keys by id, newest first; never empty.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = next(iter(keys))

    def seal(self, secret: str, associated_data: str) -> str:
        """Return `v1.<key id>.<base64url(nonce + ciphertext)>`.

        Args:
            secret: the text to hide.
            associated_data: `table/row/column`; the same words open it, so that a value copied elsewhere is refused.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._ciphers[self._newest].encrypt(nonce, secret.encode(), associated_data.encode())
        return f"{VERSION}.{self._newest}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, envelope: str, associated_data: str) -> str:
        """Return the secret.

        Raises:
            SealBroken: no key of that id is configured, or the envelope is not what was sealed with this data.
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

    def is_newest(self, envelope: str) -> bool:
        return envelope.startswith(f"{VERSION}.{self._newest}.")
