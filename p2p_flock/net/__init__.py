"""libp2p for the daemon: hosts, gossip, messages, content and discovery. The only importer of libp2p.

The daemon imports `p2p_flock.net.adapter`.
"""
