"""Money as people write it: FLOCK and ETH with 18 decimals, held as whole wei. Pure."""

from __future__ import annotations

import re

from p2p_flock.errors import UsageError

WEI_DECIMALS = 18
WEI_MAX = (1 << 128) - 1  # what the contract's uint128 holds
_AMOUNT = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,18}))?\s*(?i:(FLOCK|wei)?)")


def parse_flock(text: str | int) -> int:
    """``"1000 FLOCK"`` or ``"2.5 FLOCK"``; a bare whole number is wei.

    Raises:
        UsageError: neither, or more than the contract can hold.
    """
    match = _AMOUNT.fullmatch(str(text).strip().replace("_", ""))
    unit = (match[3] or "wei").lower() if match else ""
    if match is None or (unit == "wei" and match[2] is not None):
        raise UsageError(f'{text!r} is no amount\nwrite it like "100 FLOCK", "2.5 FLOCK", or a whole number of wei')
    wei = int(match[1])
    if unit == "flock":
        wei = wei * 10**WEI_DECIMALS + int((match[2] or "").ljust(WEI_DECIMALS, "0"))
    if wei > WEI_MAX:
        raise UsageError(f"{text!r} is more than the contract can hold\nwrite a smaller amount")
    return wei


def format_money(wei: str | int, unit: str) -> str:
    """``1,234.5 FLOCK``: exact below a millionth, rounded down beyond it."""
    whole, fraction = divmod(int(wei), 10**WEI_DECIMALS)
    digits = f"{fraction:018d}"[:6].rstrip("0")
    if not digits and fraction and not whole:
        return f"< 0.000001 {unit}"
    return f"{whole:,}{'.' + digits if digits else ''} {unit}"


def format_seconds(seconds: int) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``7 d 3 h``: two units at most."""
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
