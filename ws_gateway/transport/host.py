"""The gateway, as its connections see it."""

from typing import Protocol, TypeVar

from common.auth.principal import Principal
from common.config.settings import Settings
from common.web.slices import Slices
from ws_gateway.admission.admission import Admission
from ws_gateway.admission.pacer import Pacer
from ws_gateway.channels.catch_up import CatchUp
from ws_gateway.protocol.messages import Register
from ws_gateway.transport.clock import Clock

C = TypeVar("C")


class Host(Protocol[C]):
    """The gateway that connections of the type `C` belong to.

    It is structural: the gateway does not name it.
    """

    admission: Admission
    catch_up: CatchUp
    clock: Clock
    connections: set[C]
    """All that shook hands and are still there."""
    draining: bool
    """Take no new connections."""
    id: str
    """Name of the gateway."""
    limits: Settings
    """Bounds of one connection."""
    pacer: Pacer
    slices: Slices
    """Gives loop turns to connections that sent more than fits into one."""

    def let_in(self, connection: C, principal: Principal | None) -> None:
        """Take a connection whose handshake was accepted, with the credentials it showed."""

    def register(self, connection: C, message: Register) -> None:
        """Register a connection that is admitted."""

    def handle(self, connection: C, text: str) -> None:
        """Do what a connection's message says; every message is answered."""

    def forget(self, connection: C) -> None:
        """Take a connection out of everything that it hears."""
