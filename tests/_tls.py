"""Certificates for tests: an authority of the tests' own, and files with certificates that it has signed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import attrs
import trustme

if TYPE_CHECKING:
    from pathlib import Path


@attrs.define
class Authority:
    """An authority, and a folder for the files of its certificates."""

    folder: Path
    ca: trustme.CA = attrs.field(factory=trustme.CA)

    def issue(self, name: str = "server", *hosts: str) -> dict[str, str]:
        """Write a new certificate and its key. Return the settings that name the two files."""
        issued = self.ca.issue_cert(*(hosts or ("127.0.0.1", "localhost")))
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return {"tls_cert": str(cert), "tls_key": str(key)}

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context

    def file(self) -> Path:
        """Write the certificate of the authority itself, and return its path."""
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(path))
        return path
