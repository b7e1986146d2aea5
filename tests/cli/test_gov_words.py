"""Proposals in words, and the changes that a proposer writes: without a chain, on what strangers could have written."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_flock.chain.contracts import GOVERNOR, TIMELOCK, TOKEN, load_contract
from p2p_flock.chain.governance import GovernanceContracts
from p2p_flock.chain.governed_calls import build_call, parse_call, read_call, spend
from p2p_flock.chain.proposals import GovernedCall, Proposal, ProposalState, Standing
from p2p_flock.cli.gov_access import parse_duration
from p2p_flock.cli.gov_propose import Changes
from p2p_flock.cli.gov_words import (
    describe_call,
    describe_standing,
    describe_votes,
    description_lines,
    exact_money,
    safe_lines,
    title_of,
)
from p2p_flock.errors import UsageError

CONTRACTS = GovernanceContracts(*(bytes([index]) * 20 for index in range(1, 6)))
PAYEE = bytes.fromhex("cd" * 20)
PAYEE_TEXT = "0x" + PAYEE.hex()
FLOCK = 10**18
NONE = Changes((), (), (), (), None, None, None, None, None, ())
NOW_S = 1_800_000_000


def proposal(description: bytes = b"Fund it", calls: tuple[GovernedCall, ...] = ()) -> Proposal:
    return Proposal(7, PAYEE, calls, NOW_S + 60, NOW_S + 120, description, 1)


def standing(state: ProposalState, **changes: object) -> Standing:
    plain = Standing(state, 0, 0, 0, 4 * FLOCK, 0, False, None)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


# --- texts of strangers ----------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_description__of_any_bytes_steers_no_terminal(text: bytes) -> None:
    """A proposer could hide, or forge, what voters read."""
    for line in (*safe_lines(text), title_of(proposal(text)), *description_lines(proposal(text))):
        assert line.isprintable()


def test_description__shows_what_would_steer() -> None:
    """An escape or a reversed word would go unnoticed."""
    lines = safe_lines("ok \x1b[2J\u202egnitov\u0007\nnext \u2028line\xff".encode("latin-1", "backslashreplace"))
    assert lines[0].startswith("ok \\x1b[2J")
    assert safe_lines("\u202eabc".encode()) == ["\\u202eabc"]
    assert safe_lines(b"\xff\xfe") == ["\ufffd\ufffd"]


def test_description__a_long_one_is_cut_off_aloud() -> None:
    """A description of megabytes would scroll the calls away."""
    lines = safe_lines(b"x" * 1_000, characters_max=10)
    assert lines == ["x" * 10, "… (cut off here)"]
    assert len(title_of(proposal(b"y" * 500))) == 72
    assert title_of(proposal(b"\n\n")) == "(no description)"


def test_description__the_proposers_mark_is_not_part_of_it() -> None:
    """Every description would end in forty hex digits."""
    marked = proposal(b"# Fund it\nBecause.\n#proposer=" + PAYEE_TEXT.encode())
    assert description_lines(marked) == ["# Fund it", "Because."]
    assert title_of(marked) == "Fund it"
    others = b"Fund it\n#proposer=0x" + b"11" * 20
    assert description_lines(proposal(others))[-1].startswith("#proposer=")


# --- calls -----------------------------------------------------------------------------------------------------


def test_call__words_are_all_of_it() -> None:
    """Bytes behind what is shown could do what nobody voted for."""
    call = spend(CONTRACTS, PAYEE, 3 * FLOCK)
    assert describe_call(CONTRACTS, call) == [f"Pay 3 FLOCK from the treasury to {PAYEE_TEXT}"]
    for odd in (call.data + b"\0", call.data[:-1], call.data[:4] + b"\x01" + call.data[5:]):
        changed = dataclasses.replace(call, data=odd)
        assert read_call(CONTRACTS, changed) is None
        assert "in no words here" in describe_call(CONTRACTS, changed)[0]
    elsewhere = dataclasses.replace(call, target=PAYEE)
    assert "in no words here" in describe_call(CONTRACTS, elsewhere)[0]


def test_call__money_is_exact() -> None:
    """A payment's last digits would be decided unseen."""
    assert exact_money(FLOCK + 1, "FLOCK") == "1.000000000000000001 FLOCK"
    assert exact_money(1_234_500 * FLOCK, "FLOCK") == "1,234,500 FLOCK"
    assert "1.000000000000000007 FLOCK" in describe_call(CONTRACTS, spend(CONTRACTS, PAYEE, FLOCK + 7))[0]


def test_call__ether_is_named() -> None:
    """ETH of the treasury would leave with a harmless looking call."""
    plain = GovernedCall(PAYEE, 5 * FLOCK, b"")
    assert describe_call(CONTRACTS, plain) == [f"Send 5 ETH from the treasury to {PAYEE_TEXT}"]
    with_data = dataclasses.replace(spend(CONTRACTS, PAYEE, 1), value_wei=FLOCK)
    assert describe_call(CONTRACTS, with_data)[-1] == "and send 1 ETH from the treasury with it"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (build_call(TIMELOCK, CONTRACTS.timelock, "grantRole", bytes(32), PAYEE), "TimelockController.grantRole("),
        (build_call(GOVERNOR, CONTRACTS.governor, "relay", PAYEE, 0, b"\1"), "FlockGovernor.relay("),
        (build_call(TOKEN, CONTRACTS.token, "approve", PAYEE, 5), "FlockToken.approve("),
    ],
)
def test_call__what_gives_power_away_is_marked(call: GovernedCall, says: str) -> None:
    """The treasury could be handed over in a line that reads like any other."""
    first, caution = describe_call(CONTRACTS, call)
    assert says in first
    assert caution.startswith("CAUTION")


def test_call__every_typed_change_has_words() -> None:
    """Voters would read hex where a sentence is possible."""
    changes = dataclasses.replace(
        NONE, gauges=("treasury=3", f"{PAYEE_TEXT}=0"), payments=(f"{PAYEE_TEXT}=2.5 FLOCK",), allowed=(PAYEE_TEXT,),
        forbidden=(PAYEE_TEXT,), quorum=5, voting_delay="2h", voting_period="3d", threshold="100 FLOCK",
        timelock_delay="90min",
    )  # fmt: skip
    sentences = [describe_call(CONTRACTS, call) for call in changes.build(CONTRACTS)]
    assert sentences[0][1:] == [f"the treasury (0x{'04' * 20}): weight 3", f"{PAYEE_TEXT}: removed"]
    assert [lines[0] for lines in sentences[1:]] == [
        f"Pay 2.5 FLOCK from the treasury to {PAYEE_TEXT}",
        f"Allow gmFLOCK to be staked at {PAYEE_TEXT}",
        f"Allow no more gmFLOCK to be staked at {PAYEE_TEXT}; what is there can be taken back",
        "Set the quorum to 5 % of all votes",
        "Set the voting delay to 2 h",
        "Set the voting period to 3 d",
        "Let who has 100 gmFLOCK propose",
        "Set the timelock's delay to 1 h 30 min",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "would change nothing"),
        ({"gauges": (PAYEE_TEXT,)}, "is not ADDRESS=VALUE"),
        ({"gauges": (f"{PAYEE_TEXT}=-1",)}, "is no weight"),
        ({"gauges": (f"{PAYEE_TEXT}=1", f"{PAYEE_TEXT}=2")}, "each once"),
        ({"gauges": (f"{PAYEE_TEXT}={1 << 64}",)}, "a gauge's weight"),
        ({"payments": (f"{PAYEE_TEXT}=0 FLOCK",)}, "more than 0"),
        ({"payments": (f"{PAYEE_TEXT}=lots",)}, "is no amount"),
        ({"payments": ("0x12=5 FLOCK",)}, "is no address"),
        ({"quorum": 101}, "from 0 to 100"),
        ({"voting_period": "0"}, "from 1 to"),
        ({"voting_delay": "soon"}, "is no duration"),
        ({"raw": (f"{PAYEE_TEXT}:pay",)}, "TO:SIGNATURE:ARGS"),
        ({"raw": (f"{PAYEE_TEXT}:pay(uint8):256",)}, "8 bits"),
        ({"raw": (f"{PAYEE_TEXT}:pay(uint8):",)}, "1 values are needed"),
        ({"raw": (f"{PAYEE_TEXT}:pay(int8):1",)}, "unknown here"),
    ],
)
def test_propose__mistakes_are_refused(changes: dict[str, object], says: str) -> None:
    """A proposal that cannot be executed would be voted on for a week."""
    with pytest.raises(UsageError, match=says):
        dataclasses.replace(NONE, **changes).build(CONTRACTS)  # type: ignore[arg-type]


def test_propose__raw_calls_are_encoded_as_the_abi_has_them() -> None:
    """A raw call would do something else than it says."""
    text = f"0x{CONTRACTS.token.hex()}:transfer(address,uint256):{PAYEE_TEXT},7"
    assert parse_call(text) == spend(CONTRACTS, PAYEE, 7)
    relay = load_contract(GOVERNOR).functions["relay"].encode(PAYEE, 0, b"\xab\xcd")
    assert parse_call(f"0x{CONTRACTS.governor.hex()}:relay(address,uint256,bytes):{PAYEE_TEXT},0,0xabcd").data == relay
    structs = f'{PAYEE_TEXT}:f((address,uint64)[],string,bool):[[{PAYEE_TEXT},1]],"a, 0xb: \\"c\\"",true'
    assert parse_call(structs).data[4:].hex().endswith(b'a, 0xb: "c"'.hex() + "00" * 21)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45", 45), ("45s", 45), ("90 min", 5_400), ("12h", 43_200), ("2W", 1_209_600)]
)
def test_duration__is_what_it_says(text: str, seconds: int) -> None:
    """A voting period would be sixty times too short."""
    assert parse_duration(text) == seconds


# --- standing --------------------------------------------------------------------------------------------------


def test_standing__every_state_has_its_sentence() -> None:
    """A state of the governor would end the command instead of being shown."""
    for state in ProposalState:
        assert describe_standing(proposal(), standing(state), NOW_S)
    assert "from 2" in describe_standing(proposal(), standing(ProposalState.QUEUED, executable_at_s=NOW_S + 5), NOW_S)
    assert "gov execute 0x" in describe_standing(proposal(), standing(ProposalState.QUEUED, executable_at_s=5), NOW_S)
    tied = standing(ProposalState.DEFEATED, votes_for=3 * FLOCK, votes_against=3 * FLOCK, votes_abstain=FLOCK)
    assert "no more votes for than against" in describe_standing(proposal(), tied, NOW_S)


def test_standing__the_quorum_says_how_much_is_missing() -> None:
    """A proposer would not know how many more to ask."""
    some = standing(ProposalState.ACTIVE, votes_for=FLOCK, votes_abstain=FLOCK, votes_against=9 * FLOCK)
    assert describe_votes(some)[1] == "quorum (for and abstain): 4 gmFLOCK, 2 gmFLOCK missing"
    assert describe_votes(dataclasses.replace(some, quorum=None))[1] == "quorum: fixed when voting begins"
