"""URLs of Redis and PostgreSQL, checked before a library reads them.

A library that can't parse a URL quotes the part that it failed on. Where a password's special
characters were not percent-encoded, that part is the password: so such a URL is refused here, with
an error that quotes nothing of it.
"""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
DATABASE_SCHEMES: Final = ("postgresql", "postgres")
_DATABASE: Final = re.compile(r"(/[0-9]{0,6})?")
_PORT_MAX: Final = 65_535
_ENCODE: Final = "is no URL; special characters of a password must be percent-encoded"


def check_url(url: str, schemes: Collection[str]) -> None:
    """Refuse a text that is not a store's URL.

    Args:
        url: to be checked.
        schemes: the accepted ones.

    Raises:
        ValueError: it is not. The text quotes nothing of it.
    """
    parts = _split(url)
    if parts.scheme not in schemes:
        raise ValueError(f"must begin with {', '.join(f'{scheme}://' for scheme in schemes)}")
    _, _, hosts = parts.netloc.rpartition("@")
    # PostgreSQL's library takes several, Redis's one.
    each = hosts.split(",") if parts.scheme in DATABASE_SCHEMES else [hosts]
    if not all(_has_a_port_or_none(host) for host in each):
        raise ValueError(_ENCODE)
    if "redis" in parts.scheme and not _DATABASE.fullmatch(parts.path):
        raise ValueError(f"must end with the number of a database, such as /0; else it {_ENCODE}")
    name, _, _ = parts.query.partition("=")
    if "@" not in parts.netloc and "@" in parts.path + name + parts.fragment:
        raise ValueError(_ENCODE)


def with_authority(url: str, ca_file: str) -> str:
    """Add to a Redis URL the file of authorities that its certificate is checked against.

    Args:
        url: `rediss://…`.
        ca_file: in PEM; empty: those of the system.
    """
    if not ca_file:
        return url
    parts = _split(url)
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{query}ssl_ca_certs={quote(ca_file, safe='')}").geturl()


def without_password(url: str) -> str:
    """Return a URL without user, password and query, safe to show."""
    parts = _split(url)
    _, at, hosts = parts.netloc.rpartition("@")
    netloc = f"***@{hosts}" if at else hosts
    return parts._replace(netloc=netloc, query="", fragment="").geturl()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(_ENCODE) from None


def _has_a_port_or_none(host: str) -> bool:
    _, _, after = host.rpartition("]")
    name, colon, port = after.partition(":")
    del name
    if not colon or not port:
        return True
    return port.isascii() and port.isdigit() and int(port) <= _PORT_MAX
