"""What a URL of Redis or PostgreSQL must look like, found out before a library reads it.

A library that can't read a URL says which part it stumbled over. Where a password's special
characters were not percent-encoded, that part is the password: so such a URL is refused here, in
words that quote nothing of it.
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
    """Refuse what is no URL of a store.

    Args:
        url: to be checked.
        schemes: one of them it must have.

    Raises:
        ValueError: it is none. The text quotes nothing of it.
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
    """URL of a Redis whose certificate is checked against a file of authorities.

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
    """A URL as it may be shown: without user, password and query."""
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
