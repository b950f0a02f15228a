"""`fairlead top` at a terminal: asks, draws again in place, and ends on q or Ctrl-C.

Owns the terminal's mode, and gives it back. What stands on the screen is `screen`'s.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from router.api import Door, NoRouterError, ask
from router.printable import printable
from router.screen import EVENTS_SHOWN, Look, draw

ALTERNATE, BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the other screen without a cursor, and back
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
PAGES = ("topology", "routes", "workers", f"events?limit={EVENTS_SHOWN}")


def watch(door: Door, interval: float, *, once: bool) -> None:
    """Draw until somebody wants an end.

    Args:
        door: of the router.
        interval: seconds between looks.
        once: print one screen of two looks instead.

    Raises:
        NoRouterError: it does not answer at first; later that is shown, and it is asked again.
    """
    before = _look(door)
    if once or not sys.stdout.isatty():
        time.sleep(interval)
        print(draw(_look(door), before, width=10_000, height=10_000, styled=False))
        return
    with _terminal():
        shown = before
        while True:
            width, height = shutil.get_terminal_size()
            _put(draw(shown, before, width=width, height=height, styled=True))
            if _quit_within(interval):
                return
            try:
                latest = _look(door)
            except NoRouterError as error:
                _put(printable(f"no router answers at {door.url}: {error}")[:width])
            else:
                before, shown = shown, latest


def _look(door: Door) -> Look:
    documents: dict[str, object] = {}
    for page in PAGES:
        documents |= ask(door, f"/api/v1/{page}")
    return Look(time.monotonic(), documents)


def _put(screen: str) -> None:
    """In one write, over what stood there, so that nothing flickers."""
    sys.stdout.write(HOME + "".join(f"{line}{CLEAR_LINE}\r\n" for line in screen.split("\n")) + CLEAR_BELOW)
    sys.stdout.flush()


@contextmanager
def _terminal() -> Iterator[None]:
    """The other screen, keys as they are pressed; whatever happens, all as it was in the end."""
    keyboard = sys.stdin.fileno() if sys.stdin.isatty() else -1
    mode = termios.tcgetattr(keyboard) if keyboard >= 0 else None
    try:
        if mode is not None:
            tty.setcbreak(keyboard)
        sys.stdout.write(ALTERNATE)
        yield
    finally:
        sys.stdout.write(BACK)
        sys.stdout.flush()
        if mode is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, mode)


def _quit_within(seconds: float) -> bool:
    """Wait; say whether q was pressed, or the keyboard is gone."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            time.sleep(left)
        elif select.select([sys.stdin], [], [], left)[0]:
            pressed = os.read(sys.stdin.fileno(), 64)
            if not pressed or b"q" in pressed.lower():
                return True
    return False
