"""A whole network on one machine: chain, bootstrap node, nodes, one alliance, some rounds, and a report about them.

Started by ``scripts/testnet``. Holds no member's key or password and takes no part in any round: killed at any moment
after the alliance exists, it is not missed. What it needs from a daemon is written in ``METRICS.md`` beside this file.
"""
