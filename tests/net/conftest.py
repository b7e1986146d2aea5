"""Stock hosts leave sockets to the garbage collector when they end; that is no warning about our code."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from tests.net import nodes


@pytest.fixture(autouse=True)
def _collect_stock_sockets() -> Iterator[None]:
    nodes.stock_hosts_opened.clear()
    yield
    if nodes.stock_hosts_opened:
        nodes.stock_hosts_opened.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
