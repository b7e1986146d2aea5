"""Locks of FLOCK: what an account has locked, what locking would give, and the transactions (``IGmFlock.sol``).

Called by the commands ``p2p-flock lock``, and by ``gov`` for an account's votes. gm and votes are in gmFLOCK wei, which
are no money: they cannot be sold, and are burnt when the lock is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p_flock.chain.abi import encode
from p2p_flock.chain.client import as_quantity
from p2p_flock.chain.contracts import GM_FLOCK, TOKEN, address_bytes, address_text
from p2p_flock.chain.governance import Governance, GovernanceContracts, View, read_views
from p2p_flock.chain.governance_logs import read_events
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.crypto.signing import sign
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ChainError, UsageError

DAY_S = 86_400
LOCK_DAYS_MIN, LOCK_DAYS_MAX = 1, 365  # the contract's bounds; more would lock for 365 days
LOCKS_PER_CALL = 256  # the contract's largest page
LOCKS_READ_MAX = 10_000  # beyond it an account needs an index, not a command
PERMIT_S_MAX = 3_600  # how long the permit inside the transaction holds; the transaction is mined or given up before
# ERC-2612 and EIP-712, as OpenZeppelin's ERC20Permit("FLOCK") has them.
_PERMIT_TYPE = keccak256(b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_TOKEN_NAME, _TOKEN_VERSION = b"FLOCK", b"1"


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock: FLOCK wei in it, gmFLOCK wei that it gave, Unix second from which it can be undone."""

    id: int
    unlocks_at_s: int
    amount_wei: int
    gm_wei: int


@dataclass(frozen=True, slots=True)
class LockAccount:
    """What an account holds.

    Attributes:
        eth_wei, flock_wei: free balances.
        gm_wei: gmFLOCK in the account; less than ``locked_gm_wei`` where some is staked.
        locked_gm_wei: gm of all its locks: the votes that it gives to ``delegate``.
        votes_wei: votes that it can cast, own and delegated to it.
        delegate: who votes with its locks, 20 bytes; zero before the first lock.
        locks: by ID.
    """

    eth_wei: int
    flock_wei: int
    gm_wei: int
    locked_gm_wei: int
    votes_wei: int
    delegate: bytes
    locks: tuple[Lock, ...]


async def read_account(governance: Governance) -> LockAccount:
    """Balances, votes and locks of the account.

    Raises:
        ChainError: the endpoints failed or disagree, or the account has more locks than are read.
    """
    gm, account = governance.contracts.gm_flock, governance.address
    flock, balance, locked, votes, delegate = await read_views(
        governance.client,
        (
            View(TOKEN, governance.contracts.token, "balanceOf", (account,)),
            *(View(GM_FLOCK, gm, name, (account,)) for name in ("balanceOf", "lockedGmOf", "getVotes", "delegates")),
        ),
    )
    eth = as_quantity(await governance.client.call("eth_getBalance", address_text(account), "latest"))
    locks: list[Lock] = []
    while len(locks) <= LOCKS_READ_MAX:
        ids, page = await governance.read(GM_FLOCK, gm, "locksOf", account, len(locks), LOCKS_PER_CALL)
        for number, (owner, unlocks_at_s, amount, gm_wei) in zip(ids, page, strict=False):
            if address_bytes(owner) != account:
                raise ChainError("the endpoint answers with somebody else's locks; use another RPC endpoint")
            locks.append(Lock(number, unlocks_at_s, amount, gm_wei))
        if len(ids) < LOCKS_PER_CALL:
            locks.sort(key=lambda lock: lock.id)
            return LockAccount(eth, flock, balance, locked, votes, address_bytes(delegate), tuple(locks))
    raise ChainError(f"the account has more than {LOCKS_READ_MAX} locks\nundo some: `p2p-flock lock unlock ID`")


async def read_staking_contracts(governance: Governance) -> tuple[bytes, ...]:
    """Where gmFLOCK can move to now, 20 bytes each.

    Raises:
        ChainError: the endpoints failed or disagree.
    """
    gm = governance.contracts.gm_flock
    newest_first = await read_events(governance, GM_FLOCK, gm, "StakingContractSet")
    last = {log["stakingContract"]: bool(log["listed"]) for log in reversed(newest_first)}
    return tuple(address_bytes(address) for address, listed in sorted(last.items()) if listed)


async def quote(governance: Governance, amount_wei: int, lock_seconds: int) -> int:
    """gmFLOCK wei that locking would give.

    Raises:
        ChainError: the endpoints failed, or the contract does not take such a lock.
    """
    gm = governance.contracts.gm_flock
    return int(await governance.read(GM_FLOCK, gm, "gmFor", amount_wei, lock_seconds))


async def create_lock(governance: Governance, amount_wei: int, lock_seconds: int) -> tuple[Lock, TransactionReceipt]:
    """Lock in one transaction: a permit of exactly the amount travels with it in place of an approval.

    Raises:
        TransactionFailedError: e.g. ERC20InsufficientBalance.
        ChainError: the endpoint failed.
    """
    account = governance.account
    if account is None:
        raise UsageError("This needs the account's key. Open the chain with it.")
    contracts = governance.contracts
    nonce = await governance.read(TOKEN, contracts.token, "nonces", governance.address)
    deadline_s = await governance.now_s() + PERMIT_S_MAX
    digest = permit_digest(contracts, governance.chain_id, governance.address, amount_wei, nonce, deadline_s)
    signature = sign(account.key, digest)
    before = {lock.id for lock in (await read_account(governance)).locks}
    receipt = await governance.send(
        f"locking {amount_wei} FLOCK wei",
        *(GM_FLOCK, contracts.gm_flock, "lockWithPermit"),
        *(amount_wei, lock_seconds, deadline_s, signature[64], signature[:32], signature[32:64]),
    )
    made = [lock for lock in (await read_account(governance)).locks if lock.id not in before]
    if len(made) != 1:
        raise ChainError("the new lock cannot be told from others\nlook at `p2p-flock lock list`")
    return made[0], receipt


def permit_digest(
    contracts: GovernanceContracts, chain_id: int, owner: bytes, amount_wei: int, nonce: int, deadline_s: int
) -> bytes:
    """What the owner signs so that gmFLOCK may take ``amount_wei`` once (ERC-2612). 32 bytes.

    The domain is computed, never asked for: an endpoint that lies about it would get a signature for another token.
    """
    words = ("bytes32", "bytes32", "bytes32", "uint256", "address")
    name, version = keccak256(_TOKEN_NAME), keccak256(_TOKEN_VERSION)
    domain = keccak256(encode(words, (_DOMAIN_TYPE, name, version, chain_id, contracts.token)))
    permit = encode(
        ("bytes32", "address", "address", "uint256", "uint256", "uint256"),
        (_PERMIT_TYPE, owner, contracts.gm_flock, amount_wei, nonce, deadline_s),
    )
    return keccak256(b"\x19\x01" + domain + keccak256(permit))


async def unlock(governance: Governance, ids: Sequence[int]) -> TransactionReceipt:
    """Undo locks whose time is over, all or none: their gm is burnt, their FLOCK is paid out.

    Raises:
        TransactionFailedError: StillLocked, NotYourLock, or ERC20InsufficientBalance while their gm is staked.
        ChainError: the endpoint failed.
    """
    return await governance.send("unlocking", GM_FLOCK, governance.contracts.gm_flock, "unlock", list(ids))


async def delegate(governance: Governance, to: bytes) -> TransactionReceipt:
    """Let ``to`` (20 bytes) vote with all of the account's locks, now and later; the locks stay the account's.

    Raises:
        ChainError: the endpoint failed.
    """
    return await governance.send("delegating", GM_FLOCK, governance.contracts.gm_flock, "delegate", to)
