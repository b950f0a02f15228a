"""The line between two processes, over real socket pairs."""

from __future__ import annotations

import os
import socket

import pytest

from router.link import Link, make_pair
from router.messages import DialFailure, Message, Pulse, Sockets, encode
from tests.router.conftest import Run
from tests.router.fakes import until


class End:
    """One end, and what it heard."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[tuple[Message, list[int]]] = []
        self.ended = 0
        self.link = Link(sock, lambda message, fds: self.heard.append((message, fds)), self._end)

    def _end(self) -> None:
        self.ended += 1


def test_messages_of_all_sizes_come_in_order(run: Run) -> None:
    async def scenario() -> None:
        one, other = map(End, make_pair())
        said = [DialFailure("main", "x" * size) for size in (0, 1, 65_500, 65_536, 1_000_000, 3)]
        for message in said:
            one.link.send(message)
        assert not one.link.idle, "a megabyte does not fit into a socket's buffer"
        await until(lambda: len(other.heard) == len(said), "all are heard")
        assert [message for message, _ in other.heard] == said
        assert one.link.idle
        one.link.close()
        await until(lambda: other.ended == 1, "the other end notices")
        assert one.ended == 0, "who closes is not told"

    run(scenario())


def test_descriptors_come_with_their_message(run: Run) -> None:
    async def scenario() -> None:
        one, other = map(End, make_pair())
        with socket.socket() as sent:
            one.link.send(Pulse(1))
            one.link.send(Sockets(("x" * 200_000,)), [sent.fileno()])
            one.link.send(Pulse(2))
            await until(lambda: len(other.heard) == 3, "all are heard")
            counts = [len(fds) for _, fds in other.heard]
            assert counts == [0, 1, 0]
            [fd] = other.heard[1][1]
            assert os.fstat(fd).st_ino == os.fstat(sent.fileno()).st_ino
            os.close(fd)
        one.link.close()
        other.link.close()

    run(scenario())


def test_one_who_does_not_read_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.link.WAITING_LIMIT", 1 << 20)

    async def scenario() -> None:
        ours, theirs = make_pair()
        with theirs:
            one = End(ours)
            for _ in range(30):
                one.link.send(DialFailure("main", "x" * 100_000))
            assert one.ended == 1, "once"
            one.link.send(Pulse(1))

    run(scenario())


def test_what_is_no_message_is_told_and_left_out(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ours, theirs = make_pair()
        one = End(ours)
        with theirs:
            for packet in (b"\x03{", b"\x03[]", b'\x03{"kind":"of-tomorrow"}', *encode(Pulse(1))):
                theirs.send(packet)
            await until(lambda: bool(one.heard), "the good one is heard")
        assert [message for message, _ in one.heard] == [Pulse(1)]
        await until(lambda: one.ended == 1, "it ends")

    run(scenario())
    assert [record.levelname for record in caplog.records if "cannot be read" in record.getMessage()] == ["ERROR"]


def test_a_line_that_has_ended_is_not_taken_up_again(run: Run) -> None:
    async def scenario() -> None:
        one, other = map(End, make_pair())
        other.link.close()
        await until(lambda: one.ended == 1, "it ends")
        one.link.pause()
        one.link.resume()
        assert not one.link.open

    run(scenario())


def test_a_machine_with_small_buffers_will_do(run: Run) -> None:
    async def scenario() -> None:
        ours, theirs = make_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)  # doubled by the kernel
        one, other = End(ours), End(theirs)
        said = DialFailure("main", "x" * 100_000)
        one.link.send(said)
        await until(lambda: bool(other.heard), "it is heard")
        assert other.heard == [(said, [])]
        one.link.close()
        other.link.close()

    run(scenario())


def test_descriptors_of_a_message_that_never_came_whole_are_closed(run: Run) -> None:
    async def scenario() -> None:
        ours, theirs = make_pair()
        other = End(theirs)
        with ours, socket.socket() as lost, socket.socket() as sent:
            [first, *_] = encode(Sockets(("x" * 200_000,)))
            socket.send_fds(ours, [first], [lost.fileno()])
            socket.send_fds(ours, encode(Sockets(("a",))), [sent.fileno()])
            await until(lambda: bool(other.heard), "the whole one is heard")
            [(message, [fd])] = other.heard
            assert message == Sockets(("a",))
            assert os.fstat(fd).st_ino == os.fstat(sent.fileno()).st_ino
            os.close(fd)
        other.link.close()

    run(scenario())
