"""For all tests: the recursion limit is the daemon's, whichever test module imports Ethereum's libraries later.

py_ecc raises it to 100,000 when it is first imported; nested JSON then ends the process instead of being an error.
"""

import sys

_LIMIT = sys.getrecursionlimit()

import py_ecc  # noqa: E402, F401

sys.setrecursionlimit(_LIMIT)
