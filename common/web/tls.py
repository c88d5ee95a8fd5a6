"""TLS on the ports of server and gateway: options for listening with and without it."""

import ssl
from typing import Any, Final

from common.config.loading import refuse
from common.config.settings import Settings

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""A peer that has not finished its handshake by then is dropped."""
SHUTDOWN_TIMEOUT_S: Final = 5.0
"""Seconds that a peer may take to confirm the close."""


def listen_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments of `loop.create_server` for TLS, none if it is off.

    The ssl module closes connections that don't speak TLS, and nothing logs them.

    Raises:
        OSError: certificate and key can't be used together, or not at all; the text names both.
    """
    if not settings.tls_cert_file:
        return {}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # On TLS 1.2, a peer could renegotiate to make the server sign again and again.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, _no_password)
    except (OSError, ValueError) as error:
        raise OSError(
            f"TLS_CERT_FILE {settings.tls_cert_file} and TLS_KEY_FILE {settings.tls_key_file} "
            f"can't be used: {error}"
        ) from None
    return {
        "ssl": context,
        "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S,
        "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT_S,
    }


def check_usable(settings: Settings) -> None:
    """Check that the process can listen with TLS as the settings say, or exit.

    Raises:
        SystemExit: status 2, after one line on stderr.
    """
    try:
        listen_options(settings)
    except OSError as error:
        refuse("TLS_CERT_FILE", str(error))


def _no_password() -> str:
    # OpenSSL would ask for the password on the terminal, and wait.
    raise ValueError("the key is encrypted")
