"""What systemd is told, and what it gives, on a socket of the test's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.members import Endpoint
from router.listener import ListenError, open_socket
from router.notify import Notifier, name_of
from router.routes import Wire
from router.sockets import ListeningSockets, take_from_systemd


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_each_state_is_one_datagram(told: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready()
    assert told.recv(999).decode().splitlines() == ["READY=1", f"MAINPID={os.getpid()}", "STATUS=serving"]
    notifier.reloading()
    reloading, usec = told.recv(999).decode().splitlines()
    assert reloading == "RELOADING=1"
    assert int(usec.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.stopping()
    assert told.recv(999).startswith(b"STOPPING=1\n")
    notifier.alive()
    assert told.recv(999) == b"WATCHDOG=1"


def test_a_socket_goes_along_to_be_kept(told: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    with open_socket(Endpoint("127.0.0.1", 0)) as sock:
        assert notifier.store("rw", [sock.fileno()])
        data, [fd], _, _ = socket.recv_fds(told, 999, 4)
        assert data == b"FDSTORE=1\nFDNAME=rw"
        with socket.socket(fileno=fd) as copy:
            assert copy.getsockname() == sock.getsockname()


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0fairlead-test-{os.getpid()}")
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@fairlead-test-{os.getpid()}"}).alive()
        assert sock.recv(99) == b"WATCHDOG=1"


def test_nobody_who_listens_is_no_error(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nothing")}).ready()
    assert not Notifier({}).store("rw", [0])


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_signs_of_life_come_twice_as_often_as_they_must(environment: dict[str, str], seconds: float) -> None:
    assert Notifier(environment).watchdog == seconds


def test_a_name_has_no_colon() -> None:
    assert name_of("[::1]:6446") == "---1--6446"


def test_descriptors_are_ours_only_if_they_are_meant_for_us() -> None:
    environment = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert take_from_systemd(environment, 7) == [3, 4]
    assert environment == {"HOME": "/"}, "nobody whom we start takes them for its own"
    assert take_from_systemd({"LISTEN_PID": "8", "LISTEN_FDS": "2"}, 7) == []
    assert take_from_systemd({}, 7) == []


def test_sockets_that_were_offered_are_found_by_address_and_the_others_closed() -> None:
    wanted, unwanted = open_socket(Endpoint("127.0.0.1", 0)), open_socket(Endpoint("127.0.0.1", 0))
    at = Endpoint(*wanted.getsockname())
    inode = os.fstat(wanted.fileno()).st_ino
    fds = [wanted.detach(), unwanted.detach()]
    sockets = ListeningSockets()
    sockets.offer(fds, stored=True)
    assert sockets.open({"routes.rw.listen": (at, Wire())}) == [str(at)]
    sockets.settle()
    assert {os.fstat(fd).st_ino for fd in sockets.descriptors().values()} == {inode}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[1])
    assert not sockets.hush([str(at)]), "what somebody else keeps goes on taking connections"
    sockets.close([str(at)])


def test_all_addresses_are_opened_or_none() -> None:
    with open_socket(Endpoint("127.0.0.1", 0)) as taken, open_socket(Endpoint("127.0.0.1", 0)) as other:
        free = Endpoint(*other.getsockname())
        other.close()
        sockets = ListeningSockets()
        with pytest.raises(ListenError, match=r"routes\.b\.listen: 127\.0\.0\.1:\d+: Address already in use"):
            sockets.open(
                {"routes.a.listen": (free, Wire()), "routes.b.listen": (Endpoint(*taken.getsockname()), Wire())}
            )
        assert sockets.descriptors() == {}
        open_socket(free).close()
