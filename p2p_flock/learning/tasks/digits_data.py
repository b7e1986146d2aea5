"""The digits tasks' data: 1,797 handwritten digits of 8x8 pixels, a public holdout, and the testnet's partitions.

Called by ``tasks/digits.py`` and by the testnet. A member's CSV holds the columns of ``SCHEMA``. The data is the test
set of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998) as it ships inside scikit-learn;
it is read from that package's CSV, because importing scikit-learn would cost a node seconds for a file.
"""

from __future__ import annotations

import csv
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from p2p_flock.errors import DataSchemaError, UsageError
from p2p_flock.learning.task_manifest import Column
from p2p_flock.learning.tasks.table import Schema, shuffle_rows, write_rows

CLASSES: Final = 10
PIXELS: Final = 64
IMAGES: Final = 1797
HOLDOUT_PER_CLASS: Final = 36  # 360 images, a fifth
INK_MAX: Final = 16
DRAWS_MAX: Final = 1000
RECORDS_MIN: Final = 12

SCHEMA: Final = Schema(
    numbers=tuple(
        Column(f"pixel_{row}_{column}", "number", "ink", 0.0, float(INK_MAX), required=True)
        for row in range(8)
        for column in range(8)
    ),
    categories=(),
    outcome=Column("digit", "category", values=tuple(str(digit) for digit in range(CLASSES)), required=True),
    targets=tuple(float(digit) for digit in range(CLASSES)),
    records_min=RECORDS_MIN,
)


@cache
def load_images() -> npt.NDArray[np.int64]:
    """All images, int64 of shape (1797, 65): pixels 0..16 in C order, then the digit.

    Raises:
        UsageError: scikit-learn is not installed.
        DataSchemaError: its file is not the expected one.
    """
    spec = find_spec("sklearn")  # does not run the package
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the digits are not installed: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            images = np.array([[int(cell) for cell in row] for row in csv.reader(file)], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataSchemaError(f"{path} cannot be read: {error}; install scikit-learn again") from error
    if images.shape != (IMAGES, PIXELS + 1):
        raise DataSchemaError(f"{path} is not the expected data of {IMAGES} images; install another scikit-learn")
    return images


def holdout_rows() -> list[int]:
    """The 360 public images, ascending: 36 of each digit, the same for ever."""
    rows: list[int] = []
    for digit in range(CLASSES):
        rows += _rows_of(digit, "digits holdout", 0)[:HOLDOUT_PER_CLASS]
    return sorted(rows)


def _rows_of(digit: int, domain: str, seed: int) -> list[int]:
    rows: list[int] = np.flatnonzero(load_images()[:, PIXELS] == digit).tolist()
    return shuffle_rows(rows, f"{domain}/{digit}", seed)


def deal_iid(node_count: int, seed: int) -> list[list[int]]:
    """Rows of each member: every digit dealt out evenly; the holdout is nobody's."""
    public = set(holdout_rows())
    dealt: list[list[int]] = [[] for _ in range(node_count)]
    position = 0
    for digit in range(CLASSES):
        for row in _rows_of(digit, "digits partition", seed):
            if row not in public:
                dealt[position % node_count].append(row)
                position += 1
    return [sorted(rows) for rows in dealt]


def deal_dirichlet(node_count: int, alpha: float, seed: int) -> list[list[int]]:
    """Rows of each member: every digit is shared out by its own draw of Dirichlet(alpha, …, alpha).

    Source: Hsu, Qi and Brown 2019. Drawn again while a member has fewer than RECORDS_MIN images (as Li et al. 2022,
    "Federated Learning on Non-IID Data Silos"), so that everybody can take part.

    Raises:
        UsageError: no draw leaves everybody enough images.
    """
    public = set(holdout_rows())
    private = [
        [row for row in _rows_of(digit, "digits partition", seed) if row not in public] for digit in range(CLASSES)
    ]
    draw = np.random.default_rng(seed)
    for _ in range(DRAWS_MAX):
        dealt: list[list[int]] = [[] for _ in range(node_count)]
        for rows in private:
            ends = np.round(np.cumsum(draw.dirichlet([alpha] * node_count)) * len(rows)).astype(np.int64).tolist()
            for node, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                dealt[node] += rows[start:end]
        if min(len(rows) for rows in dealt) >= RECORDS_MIN:
            return [sorted(rows) for rows in dealt]
    raise UsageError(
        f"no draw of Dirichlet({alpha:g}) leaves each of {node_count} members {RECORDS_MIN} images; "
        "give a larger value or fewer nodes"
    )


def write_member(rows: list[int], path: Path) -> int:
    """Write a member's CSV with these images; returns their number."""
    names = [column.name for column in SCHEMA.columns]
    images = load_images()
    return write_rows(path, names, [dict(zip(names, map(str, images[row].tolist()), strict=True)) for row in rows])
