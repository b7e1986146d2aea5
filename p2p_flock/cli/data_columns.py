"""What a member's file must hold, as rows of a table: each column with meaning, unit and range. Pure."""

from __future__ import annotations

from itertools import groupby

from p2p_flock.daemon.control_messages import AllianceShowResult, ColumnResult

ALIKE_MIN = 4  # so many columns in a row that differ by name only are one line: pixels
VALUES_SHOWN_MAX = 8


def describe_columns(result: AllianceShowResult) -> list[tuple[str, str, str]]:
    """Name, what it holds, whether a cell may be empty; none where the task is not installed or names no columns."""
    about = result["about"]
    if about is None:
        return []
    rows = []
    for _, alike in groupby(about["columns"], key=_without_name):
        columns = list(alike)
        if len(columns) >= ALIKE_MIN:
            name = f"{columns[0]['name']} … {columns[-1]['name']} ({len(columns)} columns)"
            rows.append(_row(name, columns[0]))
        else:
            rows += [_row(column["name"], column) for column in columns]
    hidden = about["column_count"] - len(about["columns"])
    if hidden > 0:
        rows.append((f"… and {hidden:,} more", "", ""))
    return rows


def _without_name(column: ColumnResult) -> tuple[object, ...]:
    return tuple(value for name, value in column.items() if name != "name" and not isinstance(value, list)) + tuple(
        column["values"]
    )


def _row(name: str, column: ColumnResult) -> tuple[str, str, str]:
    empty = "" if column["required"] else "may be"
    unit = f" {column['unit']}" if column["unit"] else ""
    if column["kind"] == "number":
        return name, f"{column['low']:g} to {column['high']:g}{unit}", empty
    shown = " | ".join(column["values"][:VALUES_SHOWN_MAX])
    hidden = column["value_count"] - min(VALUES_SHOWN_MAX, len(column["values"]))
    return name, f"{shown} | … {hidden} more{unit}" if hidden else f"{shown}{unit}", empty
