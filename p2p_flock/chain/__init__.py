"""The chain: contracts, events, transactions, beacon, local chain.

Imports none of Ethereum's Python libraries: eth-account, eth-abi and what they bring along (py_ecc, pydantic) cost a
node 1.4 s of CPU time at every start, and py_ecc raises the recursion limit of the whole process to 100,000, at which
nested JSON from an endpoint ends it with a segmentation fault (P7). The tests compare what is done here with web3.py.
"""
