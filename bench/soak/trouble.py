"""Does steps: to members through the sandbox, to the router by signals. Owns how, and that each is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from bench.demo.run import DemoError
from bench.sandbox.sandbox import Sandbox
from bench.soak.routed import Routed
from bench.soak.steps import Kind, Step


class Trouble:
    """Whoever makes it.

    Args:
        sandbox: of the members.
        routed: the router.
        signals: held while the router is between two main processes, so that nobody looks at half of each.
    """

    def __init__(self, sandbox: Sandbox, routed: Routed, signals: asyncio.Lock) -> None:
        self._sandbox = sandbox
        self._routed = routed
        self._signals = signals
        self._ways: Mapping[Kind, Callable[[Step], Awaitable[str]]] = {
            Kind.SWITCH: self._switch,
            Kind.KILL: self._kill,
            Kind.CUT: self._cut,
            Kind.FREEZE: self._freeze,
            Kind.RELOAD: self._reload,
            Kind.UPGRADE: self._upgrade,
        }

    @property
    def members(self) -> int:
        """How many there are to make it for."""
        return len(self._sandbox.members)

    async def do(self, step: Step) -> str:
        """Do it, undo it, wait until every member is offered again; return whom it was done to, or an empty text.

        Raises:
            DemoError: the router does not recover.
            SandboxError: a member does not.
        """
        whom = await self._ways[step.kind](step)
        await asyncio.to_thread(self._routed.wait_offered)
        return whom

    async def _switch(self, step: Step) -> str:
        status = await asyncio.to_thread(self._sandbox.status)
        others = [one.name for one in status.members if one.name != status.primary and one.state == "ONLINE"]
        if not others:
            raise DemoError("there is no other member to switch to; see `fairlead sandbox status`")
        name = others[step.member % len(others)]
        await asyncio.to_thread(self._sandbox.switch, name)
        return name

    async def _kill(self, step: Step) -> str:
        name = self._name(step)
        await asyncio.to_thread(self._sandbox.kill, name)
        await asyncio.sleep(step.hold)
        await asyncio.to_thread(self._sandbox.start, name)
        return name

    async def _cut(self, step: Step) -> str:
        name = self._name(step)
        await asyncio.to_thread(self._sandbox.cut, name, step.side, step.direction)
        await self._heal_later(name, step)
        return name

    async def _freeze(self, step: Step) -> str:
        name = self._name(step)
        await asyncio.to_thread(self._sandbox.freeze, name)
        await self._heal_later(name, step)
        return name

    async def _reload(self, step: Step) -> str:
        await asyncio.to_thread(self._routed.reload)
        return ""

    async def _upgrade(self, step: Step) -> str:
        async with self._signals:
            await asyncio.to_thread(self._routed.upgrade)
        return ""

    async def _heal_later(self, name: str, step: Step) -> None:
        await asyncio.sleep(step.hold)
        await asyncio.to_thread(self._sandbox.heal, name)

    def _name(self, step: Step) -> str:
        members = self._sandbox.members
        return members[step.member % len(members)].name
