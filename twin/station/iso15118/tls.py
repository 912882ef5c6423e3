"""TLS as the two standards ask for it, from the files of a test PKI.

ISO 15118-2: TLS 1.2, ECDHE-ECDSA-AES128-SHA256, only the station shows a certificate. ISO 15118-20: TLS 1.3, both do.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from twin.station.iso15118.pki import CERTIFICATES, KEYS, PASSWORD

TLS_1_2_CIPHERS = "ECDHE-ECDSA-AES128-SHA256"  # [V2G2-602]


def server_context(pki: Path) -> ssl.SSLContext:
    """The station's side: both versions; a certificate is checked if the car shows one (TLS 1.3 asks for it)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    context.load_cert_chain(pki / CERTIFICATES / "cpoCertChain.pem", pki / KEYS / "seccLeaf.key", PASSWORD)
    context.load_verify_locations(pki / CERTIFICATES / "oemRootCACert.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(pki: Path, *, is_newest: bool) -> ssl.SSLContext:
    """The car's side: TLS 1.3 with its own certificate in ISO 15118-20, TLS 1.2 without one before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate names the SECC, not an address [V2G2-885]
    context.load_verify_locations(pki / CERTIFICATES / "v2gRootCACert.pem")
    if is_newest:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(pki / CERTIFICATES / "oemCertChain.pem", pki / KEYS / "oemLeaf.key", PASSWORD)
    else:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(TLS_1_2_CIPHERS)
    return context
