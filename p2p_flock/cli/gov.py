"""``p2p-flock gov``: the group of the governance commands. They talk to the chain, not to the daemon."""

from __future__ import annotations

from p2p_flock.cli.lazy import LazyGroup

gov = LazyGroup(
    "gov",
    {
        "list": "p2p_flock.cli.gov_list:list_proposals",
        "show": "p2p_flock.cli.gov_list:show",
        "propose": "p2p_flock.cli.gov_propose:propose",
        "vote": "p2p_flock.cli.gov_vote:vote",
        "queue": "p2p_flock.cli.gov_vote:queue",
        "execute": "p2p_flock.cli.gov_vote:execute",
        "cancel": "p2p_flock.cli.gov_vote:cancel",
        "parameters": "p2p_flock.cli.gov_parameters:parameters",
        "emission": "p2p_flock.cli.gov_emission:emission",
        "mint": "p2p_flock.cli.gov_emission:mint",
    },
    "Propose, vote and execute what the protocol can change. Needs no running node.\n\n"
    "A proposal waits for the voting delay, is voted on with locked FLOCK (`p2p-flock lock`), is queued if it passed, "
    "and executed after the timelock's delay.",
)
