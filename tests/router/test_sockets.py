"""What a reload changes of sockets that are open, and what is handed over."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cluster.members import Endpoint
from router.addresses import UnixPath
from router.listening import ListenError, file_of, permit
from router.routes import Wire
from router.sockets import ListeningSockets

WATCHED = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
SLOW = Wire(keepalive_idle=7, keepalive_interval=8, keepalive_count=9, tcp_user_timeout=10, backlog=3)


def free(host: str = "127.0.0.1") -> Endpoint:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return Endpoint(host, sock.getsockname()[1])


def set_to(sockets: ListeningSockets, at: Endpoint) -> list[int]:
    with socket.socket(fileno=os.dup(sockets.descriptors()[str(at)])) as sock:
        return [sock.getsockopt(socket.IPPROTO_TCP, option) for option in WATCHED]


def backlog_of(at: Endpoint) -> int:
    """Of a listening socket /proc/net/tcp tells the queue alone; so: how many connect before one has to wait."""
    waiting = []
    try:
        for number in range(100):
            one = socket.socket()
            waiting.append(one)
            one.settimeout(0.2)
            if one.connect_ex((at.host, at.port)):
                return number
        return 100
    finally:
        for one in waiting:
            one.close()


def test_open_sockets_are_set_to_what_a_reload_wants() -> None:
    sockets, at = ListeningSockets(), free()
    with socket.socket() as fresh:
        kernels = [fresh.getsockopt(socket.IPPROTO_TCP, option) for option in WATCHED]
    try:
        sockets.open({"r": (at, Wire())})
        assert set_to(sockets, at) == [60, 10, 6, 120_000]
        assert sockets.open({"r": (at, SLOW)}) == []
        assert set_to(sockets, at) == [7, 8, 9, 10_000]
        assert backlog_of(at) < 10
        sockets.open({"r": (at, Wire(keepalive_idle=0, keepalive_interval=0, keepalive_count=0, tcp_user_timeout=0))})
        assert set_to(sockets, at) == kernels, "0 is the kernel's own, whatever it was before"
    finally:
        sockets.close([str(at)])


def test_what_is_handed_over_is_set_so_too() -> None:
    sockets = ListeningSockets()
    with socket.create_server(("127.0.0.1", 0)) as handed:
        at = Endpoint(*handed.getsockname())
        sockets.offer([os.dup(handed.fileno())], stored=True)
        try:
            sockets.open({"r": (at, SLOW)})
            assert set_to(sockets, at) == [7, 8, 9, 10_000]
        finally:
            sockets.close([str(at)])


def test_permissions_change_with_a_reload_and_a_units_own_stay_until_then(tmp_path: Path) -> None:
    path = tmp_path / "rw.sock"
    at = UnixPath(str(path))

    def mode() -> int:
        return path.stat().st_mode & 0o777

    ours = ListeningSockets()
    ours.open({"r": (at, Wire())})
    assert mode() == 0o666
    ours.open({"r": (at, Wire(socket_mode=0o600))})
    assert mode() == 0o600
    handed = []
    for stored, after in ((True, 0o600), (False, 0o640)):
        theirs = ListeningSockets()
        theirs.offer([os.dup(fd) for fd in ours.descriptors().values()], stored=stored)
        theirs.open({"r": (at, Wire(socket_mode=0o640))})
        assert mode() == after
        theirs.open({"r": (at, Wire(socket_mode=after | 0o004))})
        assert mode() == after | 0o004
        path.chmod(0o600)
        handed.append(theirs)
    with socket.socket(fileno=os.dup(ours.descriptors()[str(at)])) as sock:
        file = file_of(sock)
    assert file is not None
    path.rename(tmp_path / "old.sock")
    path.write_text("another's")
    path.chmod(0o604)
    permit(file, 0o600)
    assert mode() == 0o604, "it is another's by now"
    for one in (ours, *handed):
        one.close([str(at)])


def test_dual_stack_cannot_change_and_then_nothing_does() -> None:
    sockets, at, other = ListeningSockets(), free("::"), free()
    try:
        sockets.open({"a": (other, Wire()), "b": (at, Wire())})
        with pytest.raises(ListenError, match=r"^b: dual_stack cannot change while \[::\]:\d+ is open"):
            sockets.open({"a": (other, SLOW), "b": (at, Wire(dual_stack=True))})
        assert set_to(sockets, other) == [60, 10, 6, 120_000]
    finally:
        sockets.close([str(at), str(other)])


def test_a_unit_that_chose_otherwise_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    sockets = ListeningSockets()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as handed:
        at = Endpoint(*handed.getsockname()[:2])
        sockets.offer([os.dup(handed.fileno())], stored=True)
        try:
            sockets.open({"r": (at, Wire())})
            assert f"{at}: whoever opened this socket chose dual_stack = true" in caplog.text
        finally:
            sockets.close([str(at)])


def test_a_socket_is_found_again_however_its_address_was_written() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as handed:
        at = Endpoint("::1", handed.getsockname()[1])
        sockets = ListeningSockets()
        sockets.offer([os.dup(handed.fileno())], stored=False)
        try:
            assert sockets.open({"r": (at, Wire())}) == [str(at)]
        finally:
            sockets.close([str(at)])
