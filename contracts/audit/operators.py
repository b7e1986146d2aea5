"""slither-mutate's operator mutators (AOR, BOR, LOR, ROR), applied at the operator itself.

Those of slither-analyzer 0.11 split the whole statement at the operator's text: they skip or break every statement that
has it twice (`a * (1 + b * c)`), and ROR stops at the first contract whose statement has none (a Yul block). Here the
tables of alternatives are theirs, and the text between the two operands of slither's syntax tree is what changes.
"""

from __future__ import annotations

from collections.abc import Iterator

from slither.core.declarations import Contract
from slither.core.expressions.binary_operation import BinaryOperation
from slither.slithir.operations import Binary, BinaryType
from slither.tools.mutator.mutators.AOR import arithmetic_operators
from slither.tools.mutator.mutators.BOR import bitwise_operators
from slither.tools.mutator.mutators.LOR import logical_operators
from slither.tools.mutator.mutators.ROR import relational_operators

TABLES: dict[str, list[BinaryType]] = {
    "AOR": arithmetic_operators,
    "BOR": bitwise_operators,
    "LOR": logical_operators,
    "ROR": relational_operators,
}


def replace_operators(contract: Contract, source: bytes) -> Iterator[tuple[str, int, int, int, str, str]]:
    """(mutator, line, start byte, end byte, old text, new text) of every alternative of every binary operator."""
    file = contract.source_mapping.filename.absolute
    for function in contract.functions_and_modifiers_declared:
        for node in function.nodes:
            for ir in node.irs:
                expression = ir.expression
                if not isinstance(ir, Binary) or not isinstance(expression, BinaryOperation):
                    continue  # `+=`, `++` and what slither makes of push and pop
                whole = expression.source_mapping
                if whole.filename.absolute != file or str(expression.type) != ir.type.value:
                    continue
                yield from _alternatives(ir.type, expression, source)


def _alternatives(
    operator: BinaryType, expression: BinaryOperation, source: bytes
) -> Iterator[tuple[str, int, int, int, str, str]]:
    whole = expression.source_mapping
    left, right = expression.expression_left.source_mapping, expression.expression_right.source_mapping
    start, end = whole.start, whole.start + whole.length
    gap = source[left.start + left.length : right.start].decode()
    if gap.count(operator.value) != 1:
        return  # Yul writes add(a, b)
    for name, table in TABLES.items():
        if operator not in table:
            continue
        for other in table:
            if other is not operator:
                new = (
                    source[start : left.start + left.length].decode()
                    + gap.replace(operator.value, other.value)
                    + source[right.start : end].decode()
                )
                yield name, whole.lines[0], start, end, source[start:end].decode(), new
