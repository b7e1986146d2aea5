"""The host that `p2p-flock doctor` dials with."""

from __future__ import annotations

from trio.testing import wait_all_tasks_blocked

from p2p_flock.net.probe import open_prober


async def test_prober__stays_although_it_listens_nowhere() -> None:
    """`doctor` would end with a traceback as soon as an address takes longer than an instant to answer."""
    async with open_prober():
        await wait_all_tasks_blocked()
