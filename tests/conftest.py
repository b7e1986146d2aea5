"""For all tests: the recursion limit is the daemon's, whichever test module imports Ethereum's libraries first."""

import p2p_flock.chain  # noqa: F401
