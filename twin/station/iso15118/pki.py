r"""A test PKI for TLS and Plug & Charge: every certificate and key that both ends of an emulated session need.

    V2G root -- CPO sub-CA 1 -- 2 -- SECC leaf          MO root  -- MO sub-CA 1  -- 2 -- contract (CN = eMAID)
             \- CPS sub-CA 1 -- 2 -- CPS leaf           OEM root -- OEM sub-CA 1 -- 2 -- OEM leaf (CN = PCID)

Names and places are those at which the package looks. The keys lie beside their password and every subject says that
they are for tests.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

CERTIFICATES, KEYS = Path("iso15118_2/certs"), Path("iso15118_2/private_keys")
PASSWORD = "12345"  # noqa: S105 - what the package assumes where it reads no password file
ORGANISATION = "TEST KEYS, NOT FOR PRODUCTION"
EMAID = "DEV2GC00000001"
PCID = "WMIV1234567890ABCDEX"
VALID = dt.timedelta(days=90)
BACKDATED = dt.timedelta(days=1)
NOTE = "TEST-KEYS.txt"

_PASSWORD_FILES = ("seccLeaf", "oemLeaf", "contractLeaf", "cpsLeaf", "moSubCA2Leaf")
_CHAINS = (
    # root, sub-CA prefix, leaf file, common name of the leaf
    ("v2gRootCA", "cpo", "seccLeaf", "SECCCert"),
    ("v2gRootCA", "cps", "cpsLeaf", "CPSCert"),
    ("moRootCA", "mo", "contractLeaf", EMAID),
    ("oemRootCA", "oem", "oemLeaf", PCID),
)
_PEM_CHAINS = {
    "cpoCertChain": ("seccLeaf", "cpoSubCA2", "cpoSubCA1"), "oemCertChain": ("oemLeaf", "oemSubCA2", "oemSubCA1"),
}


@dataclass(frozen=True, slots=True)
class _Identity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_pki(folder: Path, now: dt.datetime | None = None) -> Path:
    """Write a test PKI below `folder`, valid for 90 days from `now`; returns `folder`.

    Raises:
        FileExistsError: there is one already: keys are never overwritten.
    """
    if (folder / KEYS).exists():
        raise FileExistsError(f"{folder / KEYS}: exists already, expected a folder without keys")
    now = now or dt.datetime.now(dt.UTC)
    known: dict[str, _Identity] = {}
    for root, prefix, leaf, common_name in _CHAINS:
        issuer = known.setdefault(root, _issue(root, None, None, now))
        for number, path_length in ((1, 1), (2, 0)):
            name = f"{prefix}SubCA{number}"
            issuer = known[name] = _issue(name, issuer, path_length, now)
        known[leaf] = _issue(common_name, issuer, -1, now)
    _write(folder, known)
    return folder


def _issue(common_name: str, issuer: _Identity | None, path_length: int | None, now: dt.datetime) -> _Identity:
    """A certificate over a new P-256 key; path_length -1 makes a leaf."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
    ])
    is_ca = path_length != -1
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED).not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length if is_ca else None), critical=True)
        .add_extension(_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _Identity(builder.sign(signer, SHA256()), key)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca, key_agreement=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca,
        content_commitment=False, key_encipherment=False, data_encipherment=False, encipher_only=False,
        decipher_only=False,
    )


def _write(folder: Path, known: dict[str, _Identity]) -> None:
    certificates, keys = folder / CERTIFICATES, folder / KEYS
    certificates.mkdir(parents=True, exist_ok=True)
    keys.mkdir(parents=True, mode=0o700)
    for name, identity in known.items():
        (certificates / f"{name}Cert.der").write_bytes(identity.certificate.public_bytes(Encoding.DER))
        (certificates / f"{name}Cert.pem").write_bytes(identity.certificate.public_bytes(Encoding.PEM))
        (keys / f"{name}.key").write_bytes(identity.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
        ))
    for chain, names in _PEM_CHAINS.items():
        (certificates / f"{chain}.pem").write_bytes(
            b"".join(known[name].certificate.public_bytes(Encoding.PEM) for name in names)
        )
    for name in _PASSWORD_FILES:
        (keys / f"{name}Password.txt").write_text(PASSWORD + "\n")
    (folder / NOTE).write_text(
        f"{ORGANISATION}: made for emulated sessions. Keys and their password lie together here.\n"
    )
