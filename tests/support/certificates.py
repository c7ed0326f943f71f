"""A certificate authority for tests, and certificates it issues for a server and a client."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


class Authority:
    """A certificate authority of its own; `certificate` is the file of its certificate.

    Args:
        folder: an existing folder for its files.
        name: the authority's, and the beginning of its file's.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _sign(name, self._key.public_key(), name, self._key, is_authority=True)
        self.certificate = folder / f"{name}.pem"
        _write_certificate(self.certificate, self._certificate)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Issue a certificate for a host name or a role; return the files of the certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        certificate = _sign(name, key.public_key(), str(issuer), self._key, is_authority=False)
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        _write_certificate(files[0], certificate)
        _write_key(files[1], key, serialization.NoEncryption())
        return files

    def encrypt_key(self, path: Path, passphrase: bytes) -> Path:
        """Return a file with the same key under a passphrase."""
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, Key)
        encrypted = path.with_suffix(".encrypted")
        _write_key(encrypted, key, serialization.BestAvailableEncryption(passphrase))
        return encrypted


def _sign(name: str, public: ec.EllipticCurvePublicKey, issuer: str, issuer_key: Key, *, is_authority: bool):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(_common_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: Key, encryption: serialization.KeySerializationEncryption) -> None:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, encryption))
    path.chmod(0o600)
