"""A certificate of an authority of its own, for one test."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.processes.process import LOOPBACK


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: of the authority, of the certificate with its chain, and of its key."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a server and a gateway that show it."""
        return {"TLS_CERT_FILE": str(self.cert_file), "TLS_KEY_FILE": str(self.key_file)}

    @property
    def context(self) -> ssl.SSLContext:
        """Of a client that trusts its authority only."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def server_context(self) -> ssl.SSLContext:
        """Of a server that shows it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


def make_certificate(folder: Path, name: str = LOOPBACK) -> Certificate:
    """Make one for a name or address, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    ca = trustme.CA()
    issued = ca.issue_cert(name)
    ca.cert_pem.write_to_path(made.ca_file)
    made.cert_file.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(made.key_file)
    return made
