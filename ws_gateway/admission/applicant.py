"""A connection that wants to be let in, as admission sees it."""

from typing import Protocol

from common.auth.principal import Principal


class Applicant(Protocol):
    """A connection and what is known of its other end."""

    address: str
    """Address of the other end; anything if addresses don't count."""
    principal: Principal | None
    """On whose behalf it is here; None until it showed credentials or registered."""
    seat: str
    """Client application whose seat it holds, or empty."""
