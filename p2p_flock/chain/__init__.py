"""The chain: contracts, events, transactions, beacon, local chain. The only importer of Ethereum's libraries.

Importing this package puts Python's recursion limit back where it was: ``py_ecc``, which ``eth_account`` needs, raises
it to
100,000 for the whole process. At that depth the C stack ends before the limit does, and a few hundred kilobytes of
nested JSON
from an RPC endpoint or a relay would end the node with a segmentation fault instead of a ``RecursionError`` (P7).
"""

import sys

import eth_account  # noqa: F401  # first, so that nothing raises the limit again later

RECURSION_LIMIT = 1000  # Python's own default

sys.setrecursionlimit(RECURSION_LIMIT)
