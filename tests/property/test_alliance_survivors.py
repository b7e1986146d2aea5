"""Who survives, for any Have messages, quarrels and spent keys: the rule of the machines against the reference."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_flock.alliance.reference import RoundInputs, run_round
from p2p_flock.alliance.sealing import compute_survivors
from p2p_flock.testing.alliance import make_params, make_setting


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.data())
def test_survivors__agree_with_the_reference(data: st.DataObject) -> None:
    """Machines and reference would disagree on who is in the sum."""
    cohort_count = data.draw(st.integers(1, 2))
    params = make_params(cohort_count=cohort_count, seat_count=3 + 5 * cohort_count)
    seats = 3 + 5 * cohort_count
    setting = make_setting(
        params, seats, salt=data.draw(st.integers(0, 5)), keyless=data.draw(st.sets(st.integers(0, 5)))
    )
    context = setting.context
    roots = {seat: bytes(32) for seat in context.trainers}
    held = {v: data.draw(st.frozensets(st.sampled_from(context.trainers))) for v in context.assignment.validators}
    pairs = st.tuples(st.sampled_from(context.trainers), st.sampled_from(context.trainers))
    quarrels = frozenset(pair for pair in data.draw(st.sets(pairs, max_size=6)) if pair[0] < pair[1])
    survivors = compute_survivors(context, {v: {s: roots[s] for s in held[v]} for v in held}, quarrels)
    inputs = RoundInputs(
        context.domain, 1, params, context.manifest, setting.model, context.snapshot.seats, setting.randomness,
        {}, {}, held, frozenset(), {}, quarrels,
    )  # fmt: skip
    sealed = run_round(inputs).survivors
    sizes = [sum(seat in survivors for seat in cohort) for cohort in context.assignment.cohorts]
    expected = tuple(seat for seat in context.trainers if seat in survivors)
    assert sealed == (expected if max(sizes) >= params.survivors_min else ())
