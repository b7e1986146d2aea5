"""All fuzz targets, by name."""

from __future__ import annotations

from tests.fuzz import targets_chain, targets_files, targets_net, targets_rounds, targets_wire
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (targets_wire, targets_net, targets_rounds, targets_chain, targets_files)
    for target in module.TARGETS
}
