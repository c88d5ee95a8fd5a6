import socket

from deploy.local.parts import LOOPBACK, Listener
from deploy.local.ports.conflicts import find_conflicts


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def test_free_ports_are_no_conflict() -> None:
    assert find_conflicts([Listener("PORT", LOOPBACK, free_port())]) == []


def test_a_taken_port_is_named_by_its_setting() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        (conflict,) = find_conflicts([Listener("WS_PORT", LOOPBACK, port)])
    assert conflict.startswith(f"WS_PORT {port} is taken")


def test_a_shared_port_is_taken_too() -> None:
    with socket.create_server((LOOPBACK, 0), reuse_port=True) as server:
        port = server.getsockname()[1]
        assert find_conflicts([Listener("PORT", LOOPBACK, port)])


def test_two_settings_with_one_port_are_both_named() -> None:
    conflicts = find_conflicts([Listener(name, LOOPBACK, 8080) for name in ("PORT", "WS_PORT")])
    assert conflicts == ["PORT and WS_PORT are both 8080; they must differ"]


def test_a_host_that_is_not_here_is_said() -> None:
    # 192.0.2.0/24 is kept for documentation and is nobody's address.
    (conflict,) = find_conflicts([Listener("PORT", "192.0.2.1", 8080)])
    assert "PORT 8080 can't be used on 192.0.2.1:8080" in conflict
