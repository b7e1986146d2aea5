"""Who may join an alliance, and until when, as the control socket tells and takes it."""

from __future__ import annotations

from p2p_flock.alliance.allowlist import NO_ALLOWLIST, compute_allowlist_root
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.daemon.control_messages import AdmissionResult
from p2p_flock.errors import ParameterError, UsageError
from p2p_flock.types import ADDRESS_BYTES


def describe_admission(handle: AllianceHandle, owner: bytes, now_s: int) -> AdmissionResult:
    """For this account (20 bytes) at this moment of chain time (Unix seconds)."""
    params, allowlist = handle.params, handle.terms.allowlist
    is_open = params.allowlist_root == NO_ALLOWLIST
    return {
        "listed_owners": None if is_open else len(allowlist),
        "is_listed": None if is_open else owner in allowlist,
        "join_deadline_s": params.join_deadline_s or None,
        "is_over": 0 < params.join_deadline_s < now_s,
    }


def parse_allowlist(values: object, root: bytes) -> tuple[bytes, ...]:
    """Addresses as ``alliance.create`` takes them: ``0x`` and 40 hex digits each, strictly ascending.

    Args:
        root: ``allowlist_root`` of the parameters, 32 bytes.

    Raises:
        UsageError: they are not, or they are not those of the root.
    """
    owners = []
    for value in values if isinstance(values, list) else ():
        digits = value.removeprefix("0x") if isinstance(value, str) else ""
        try:
            owner = bytes.fromhex(digits)
        except ValueError:
            owner = b""
        if len(owner) != ADDRESS_BYTES or len(digits) != 2 * ADDRESS_BYTES:
            raise UsageError(f"the allowlist's entry {value!r} is no address\nan address is 0x and 40 hex digits")
        owners.append(owner)
    try:
        is_of_root = compute_allowlist_root(owners) == root
    except ParameterError as error:
        raise UsageError(f"{error}\nsort it and remove what stands twice") from error
    if not is_of_root:
        raise UsageError("the parameters' allowlist_root is not that of the allowlist\ngive both from one list")
    return tuple(owners)
