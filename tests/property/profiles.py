"""How long the property tests search: a little and always the same by default, twenty times as long when asked.

``PROPERTIES=thorough .venv/bin/python -m pytest tests/property`` draws anew each time (a number instead of the word:
so many times as long); a failure prints the blob that repeats it (``@reproduce_failure``).
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_WISH = os.environ.get("PROPERTIES", "")
FACTOR = 20 if _WISH == "thorough" else int(_WISH or 1)
IS_THOROUGH = FACTOR > 1


def examples(count: int, steps: int = 50) -> settings:
    """Settings for a test that tries ``count`` examples by default; ``steps`` is the length of a machine's life."""
    return settings(
        max_examples=count * FACTOR,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        derandomize=not IS_THOROUGH,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
