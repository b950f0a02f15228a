"""Which member is meant by the name that an operation is asked with. Must not know what is done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.api_operations import ProblemError

if TYPE_CHECKING:
    from router.service import Router


def find_member(router: Router, name: str, cluster: str) -> tuple[str, str]:
    """Cluster and name of the member that is called so, or whose host name begins so.

    Args:
        router: whose members.
        name: as it was asked.
        cluster: the one that is meant; empty where that is not said.

    Raises:
        ProblemError: there is none, or more than one.
    """
    watchers = router.overview.watchers
    if cluster and cluster not in watchers:
        raise ProblemError(404, f"there is no cluster {cluster[:50]}; there are {', '.join(watchers)}")
    names = [pair for pair in _members(router) if cluster in ("", pair[0])]
    exact = [pair for pair in names if pair[1] == name]
    found = exact or [pair for pair in names if pair[0] and pair[1].partition(".")[0] == name]
    if not found:
        raise ProblemError(404, f"there is no member {name[:100]}; there are {', '.join(m for _, m in names)}")
    if len(found) > 1:
        which = ", ".join(f"{member} of {one or 'a list'}" for one, member in found)
        raise ProblemError(409, f"{name} may be {which}: give the whole name, and the cluster in the body")
    return found[0]


def _members(router: Router) -> list[tuple[str, str]]:
    """All of them; the cluster of one that a route itself lists is empty.

    One that was drained is put back by its name even where DNS has it no more.
    """
    topologies = {name: watcher.watch.topology for name, watcher in router.overview.watchers.items()}
    seen = [(one, status.member.name) for one, topology in topologies.items() for status in topology.members]
    listed = [("", str(endpoint)) for route in router.routes.values() for endpoint in route.members]
    left = [(one, name) for one in ("", *topologies) for name in router.overview.modes(one)]
    return list(dict.fromkeys([*seen, *listed, *left]))
