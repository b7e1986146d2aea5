"""p2p_flock: organisations train one model together, with no server in the middle."""

__version__ = "0.1.0"
