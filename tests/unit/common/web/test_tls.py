"""How the ports listen."""

import ssl
from pathlib import Path

from common.config.settings import Settings
from common.web.tls import listen_options
from tests.support.certificates import make_certificate


def test_without_a_certificate_there_is_no_tls() -> None:
    assert listen_options(Settings()) == {}


def test_nothing_older_than_1_2_and_no_renegotiation(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    options = listen_options(
        Settings(tls_cert_file=str(made.cert_file), tls_key_file=str(made.key_file))
    )
    context: ssl.SSLContext = options["ssl"]
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
