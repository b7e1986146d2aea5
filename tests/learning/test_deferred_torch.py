"""When torch is loaded, and that nobody can tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEFER = "from p2p_flock.learning.deferred_torch import defer_torch\ndefer_torch()\nimport sys, torch\n"


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", DEFER + code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_deferred_torch__is_torch_once_it_is_used() -> None:
    """A task would meet half a library, or two of them whose tensors do not know each other."""
    code = """
import torch as again
print("torch.nn" in sys.modules, end=" ")
layer = torch.nn.Linear(2, 3)
import torch.nn.functional as functional
import torch as late
print(again is torch, late.nn is torch.nn, isinstance(layer.weight, torch.Tensor), late is sys.modules["torch"])
"""
    assert run(code) == "False True True True True"


def test_deferred_torch__gives_way_to_an_import_of_a_part() -> None:
    """``import torch.nn as nn``, as many tasks begin, would fail."""
    assert run("import torch.nn as nn\nprint(nn.Linear is torch.nn.Linear, torch.__version__ != '')") == "True True"


def test_table_task__answers_a_starting_node_without_torch(data_paths: list[Path]) -> None:
    """Eight nodes on two cores would spend ten seconds of their start on what the first round does not need."""
    code = """
from pathlib import Path
from p2p_flock.learning.task import find_task
task = find_task("heart").open(Path(sys.argv[1]), 1)
task.manifest(), task.check_data(), task.initial_parameters()
print(task.judge_statistics(task.statistics()), "torch.nn" in sys.modules)
"""
    assert run(code, data_paths[0]) == "(True, '') False"


def test_worker__loads_torch_while_nothing_is_asked() -> None:
    """The first training would wait for torch, or the start would."""
    code = """
import queue
from p2p_flock.learning.worker import _next_request, _Torch
requests = queue.Queue()
loading = _Torch()
requests.put({"operation": "check_data"})
_next_request(requests, loading, "manifest")
print(loading.asked_for, end=" ")
class Idle(queue.Queue):
    def get(self, timeout=None):
        if timeout is not None:
            raise queue.Empty
        return {"operation": "train"}
_next_request(Idle(), loading, "open")
print(loading.asked_for, end=" ")
_next_request(Idle(), loading, "statistics")
print(loading.asked_for, end=" ")
loading.wait()
print("torch.nn" in sys.modules)
"""
    assert run(code) == "False False True True"


def test_worker__of_a_member_that_was_started_again_loads_torch_at_once() -> None:
    """It would miss the rounds of ten more seconds, and the others would wait for its ballot in them."""
    code = """
from p2p_flock.learning.worker import _Torch
joining, returning = _Torch(), _Torch()
for operation in ("open", "manifest", "check_data", "initial_parameters"):
    joining.note(operation)
    if operation != "check_data":
        returning.note(operation)
print(joining.asked_for, returning.asked_for)
returning.wait()
"""
    assert run(code) == "False True"
