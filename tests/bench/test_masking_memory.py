"""Memory of masking, measured in a process of its own."""

from __future__ import annotations

import pytest

from p2p_flock.bench.masking_memory import GROWTH_BYTES_MAX, measure_masking_memory
from p2p_flock.crypto.masking import Engine


@pytest.mark.parametrize("engine", [Engine.PLAIN, Engine.ACCELERATED])
def test_masking__memory_does_not_grow_with_the_vector(engine: Engine) -> None:
    """A model of 100 M parameters would not be masked on a machine that trains it; 8 M show the same in a second."""
    small = measure_masking_memory(8_000_000, 3, engine=engine)
    assert small.vector_bytes == 16_000_000
    assert 0 <= small.private_growth_bytes <= 15_000_000
    assert small.private_growth_bytes <= small.growth_bytes <= 3 * GROWTH_BYTES_MAX


@pytest.mark.slow
@pytest.mark.parametrize("engine", [Engine.PLAIN, Engine.ACCELERATED])
def test_masking__a_hundred_million_parameters_in_64_mib(engine: Engine) -> None:
    """The bound that the project promises would not hold at the size for which it was promised."""
    found = measure_masking_memory(100_000_000, 31, engine=engine)
    assert found.vector_bytes == 200_000_000 and found.private_growth_bytes <= GROWTH_BYTES_MAX
