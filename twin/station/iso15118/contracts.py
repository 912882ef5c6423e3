"""Whether a contract certificate of a car leads to a root that the station trusts.

The package checks the signature of the request, but lets any chain pass: in ISO 15118-2 it leaves a broken one to the
back end, in -20 it does not look at it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from twin.station.iso15118.pki import CERTIFICATES

MOST_SUB_CAS = 2  # [V2G2-010]


class UntrustedContract(ValueError):
    """A contract certificate without a valid chain to the mobility operator's root."""


def check_contract(leaf: bytes, sub_cas: Sequence[bytes], pki: Path, now: dt.datetime | None = None) -> None:
    """Follow the chain from `leaf` over `sub_cas` (DER, any order) to the mobility operator's root in `pki`.

    Raises:
        UntrustedContract: a certificate is none, expired, or issued by none of the others.
    """
    now = now or dt.datetime.now(dt.UTC)
    if len(sub_cas) > MOST_SUB_CAS:
        raise UntrustedContract(f"contract: {len(sub_cas)} sub-CA certificates, expected at most {MOST_SUB_CAS}")
    try:
        present = x509.load_der_x509_certificate(leaf)
        others = [x509.load_der_x509_certificate(one) for one in sub_cas]
        root = x509.load_der_x509_certificate((pki / CERTIFICATES / "moRootCACert.der").read_bytes())
    except ValueError as fault:
        raise UntrustedContract(f"contract: a certificate is none: {fault}") from None
    for _ in range(len(others) + 1):
        if not present.not_valid_before_utc <= now <= present.not_valid_after_utc:
            raise UntrustedContract(f"contract: {_name(present)} is not valid now")
        if _has_issued(root, present):
            return
        issuer = next((one for one in others if _has_issued(one, present)), None)
        if issuer is None:
            raise UntrustedContract(f"contract: {_name(present)} has no trusted issuer")
        present = issuer
    raise UntrustedContract("contract: the chain does not end at the root")


def _name(certificate: x509.Certificate) -> str:
    """What names it in messages and logs; its subject is the driver's eMAID."""
    return f"certificate {certificate.fingerprint(hashes.SHA256()).hex()[:16]} (SHA-256)"


def _has_issued(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.ca
