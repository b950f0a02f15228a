"""sysbench: its options, our script for large results, and what it says at its end. Must not know what is before the
server. It runs in the peers' private root, in a directory of its own.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.root import PEERS
from bench.sandbox.errors import SandboxError
from bench.sandbox.programs import need_program
from bench.speed import usage
from bench.speed.cases import LARGE_BYTES, TABLE_ROWS, Case, Workload
from bench.speed.proxy import Address

PATIENCE = 30.0  # seconds beyond its time until a run is given up for stuck
SCRIPTS = "/usr/share/sysbench"
LARGE = f"""-- One row of {LARGE_BYTES} bytes, which the server makes up.
function thread_init()
  connection = sysbench.sql.driver():connect()
  results = 0
end

function event()
  connection:query("SELECT REPEAT('x', {LARGE_BYTES})")
  results = results + 1
  if results % 4 == 0 then
    collectgarbage()  -- Lua sees a few bytes where the client library holds the whole result.
  end
end

function thread_done()
  connection:disconnect()
end
"""
# Names that sysbench 1.0 has written into it.
TLS_FILES = {"cacert.pem": "authority", "client-cert.pem": "certificate", "client-key.pem": "key"}
_BIN = re.compile(r"^\s*([\d.]+) \|.*?(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Said:
    """What it says at its end; times in milliseconds."""

    queries: int
    errors: int
    seconds: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Load:
    """One run: what it says, and the processor time that it took itself, in seconds."""

    said: Said
    cpu: float


def write_files(directory: Path, options: Mapping[str, str], tls: Mapping[str, str]) -> None:
    """Put the script, the options and the files for TLS where sysbench looks for them.

    Args:
        options: such as `mysql-user`; in a file, so that a password is in no list of processes.
        tls: texts of `authority`, `certificate` and `key`, PEM.
    """
    (directory / f"{Workload.LARGE_RESULT.value}.lua").write_text(LARGE)
    config = directory / "options"
    config.touch(mode=0o600)
    config.write_text("".join(f"{name}={value}\n" for name, value in options.items()))
    for name, part in TLS_FILES.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(tls[part])


def arguments(case: Case, address: Address, seconds: int) -> list[str]:
    """What makes it do a case's work at an address."""
    path = "/srv" if case.workload is Workload.LARGE_RESULT else SCRIPTS
    return [
        f"{path}/{case.workload.value}.lua",
        *_where(address, tls=case.tls),
        f"--threads={case.threads}",
        f"--time={seconds}",
        "--events=0",
        "--histogram",
        *([] if case.workload is Workload.LARGE_RESULT else [f"--table-size={TABLE_ROWS}"]),
        "run",
    ]


def prepare(directory: Path, address: Address) -> None:
    """Make the table, over TLS.

    Raises:
        SandboxError: it does not work.
    """
    words = [f"{SCRIPTS}/oltp_read_only.lua", *_where(address, tls=True), f"--table-size={TABLE_ROWS}", "prepare"]
    _run(directory, words, core=None, patience=PATIENCE)


def load(directory: Path, case: Case, address: Address, seconds: int, core: int) -> Load:
    """Do a case's work, on one core.

    Raises:
        SandboxError: it fails, or some query did.
    """
    text, cpu = _run(directory, arguments(case, address, seconds), core=core, patience=seconds + PATIENCE)
    said = read(text)
    if said.errors:
        raise SandboxError(f"{case.name}: {said.errors} of {said.queries} queries failed at {address[0]}:{address[1]}")
    return Load(said, cpu)


def read(text: str) -> Said:
    """Read what sysbench prints at its end, with its histogram.

    Raises:
        SandboxError: it says something else.
    """

    def number(pattern: str) -> float:
        match = re.search(pattern, text)
        if match is None:
            raise SandboxError(f"sysbench says nothing of {pattern!r}:\n{text[-1500:]}")
        return float(match[1])

    histogram = text.partition("Latency histogram")[2].partition("\n\n")[0]
    bins = [(float(value), int(count)) for value, count in _BIN.findall(histogram)]
    p50, p95, p99 = (percentile(bins, share) for share in (0.50, 0.95, 0.99))
    return Said(
        queries=int(number(r"total:\s+(\d+)")),
        errors=int(number(r"ignored errors:\s+(\d+)")) + int(number(r"reconnects:\s+(\d+)")),
        seconds=number(r"total time:\s+([\d.]+)s"),
        p50=p50,
        p95=p95,
        p99=p99,
    )


def percentile(bins: Sequence[tuple[float, int]], share: float) -> float:
    """The value below or at which such a share of all is, as exactly as the bins are narrow (1.8 %).

    Raises:
        SandboxError: there are none.
    """
    wanted, seen = share * sum(count for _, count in bins), 0
    for value, count in bins:
        seen += count
        if count and seen >= wanted:
            return value
    raise SandboxError("sysbench has no latency histogram: no event ended in time")


def _where(address: Address, *, tls: bool) -> list[str]:
    host, port = address
    return ["--config-file=/srv/options", f"--mysql-host={host}", f"--mysql-port={port}", f"--mysql-ssl={_word(tls)}"]


def _word(value: bool) -> str:
    return "on" if value else "off"


def _run(directory: Path, words: Sequence[str], core: int | None, patience: float) -> tuple[str, float]:
    pin = [] if core is None else [need_program("taskset", "util-linux"), "--cpu-list", str(core)]
    # It looks for the files of TLS in the directory that it stands in.
    argv = [
        *pin,
        *PEERS.enter(directory),
        "/bin/sh",
        "-c",
        'cd /srv && exec /usr/bin/sysbench "$@"',
        "sysbench",
        *words,
    ]
    before = usage.ended_seconds()
    # In a session of its own, so that what a Ctrl-C ends is known here.
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired as exc:
        raise SandboxError(f"sysbench did not end: {' '.join(words)}") from exc
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise SandboxError(f"sysbench {' '.join(words)} failed:\n{said[-1500:]}")
    return said, usage.ended_seconds() - before
