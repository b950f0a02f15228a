"""The parts that a sandbox is made of, put together from its record. Decides nothing and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.sandbox.daemons import Daemons
from bench.sandbox.group import Group
from bench.sandbox.layout import Layout
from bench.sandbox.networks import KINDS as NETWORKS
from bench.sandbox.networks import Network
from bench.sandbox.record import Mode, Record
from bench.sandbox.replicas import Replicas
from bench.sandbox.servers import KINDS as SERVERS
from bench.sandbox.servers import Server

#: What the members are to each other, where that is not a group.
GROUPS: Mapping[Mode, type[Group]] = {Mode.REPLICATION: Replicas}


def server_of(record: Record) -> Server:
    """Return the server program of a sandbox."""
    return SERVERS[record.server_kind](Path(record.server_path))


def network_of(record: Record) -> Network:
    """Return the network of a sandbox."""
    return NETWORKS[record.network](server_of(record))


def daemons_of(layout: Layout, record: Record) -> Daemons:
    """Return the server processes of a sandbox."""
    return Daemons(layout, record, server_of(record), network_of(record))


def group_of(layout: Layout, record: Record) -> Group:
    """Return a sandbox's members as a group."""
    return GROUPS.get(record.mode, Group)(layout, record.members)
