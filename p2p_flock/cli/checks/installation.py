"""Is what this package needs installed, in the versions it needs, and the task with it?"""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, entry_points, requires, version

from p2p_flock import __version__
from p2p_flock.cli.checks.findings import Finding, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import Scene
from p2p_flock.daemon.config import LearningSettings
from p2p_flock.learning.task_manifest import ENTRY_POINT_GROUP

DISTRIBUTION = "p2p-flock"
PYTHON_MIN = (3, 11)
# Named in the line, because support asks for them first.
SHOWN = ("torch", "libp2p", "trio", "numpy")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:==\s*([^\s;,]+))?")
_AGAIN = "install p2p-flock again, into an environment of its own (see README, Installation)"


async def check_installation(_scene: Scene) -> list[Finding]:
    """Python and packages."""
    if sys.version_info < PYTHON_MIN:
        return [broken(f"Python {platform.python_version()}", "make an environment with Python 3.11 or newer")]
    try:
        wanted = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return [broken("the package p2p-flock is not installed, its code is only in the search path", _AGAIN)]
    wrong = [problem for line in wanted if "extra ==" not in line for problem in _find_problem(line)]
    if wrong:
        return [broken("; ".join(wrong), _AGAIN)]
    shown = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    return [fine(f"p2p-flock {__version__} on Python {platform.python_version()}, {shown}")]


def _find_problem(requirement: str) -> list[str]:
    match = _REQUIREMENT.match(requirement)
    assert match is not None, requirement
    name, exactly = match[1], match[2]
    try:
        found = version(name)
    except PackageNotFoundError:
        return [f"the package {name} is missing"]
    if exactly is not None and found != exactly:
        return [f"{name} is {found} and must be {exactly}"]
    return []


def find_learning_problems(learning: LearningSettings) -> list[str]:
    """What would keep a node from joining and can be seen at once, a sentence each; for its log when it starts."""
    found = []
    if learning.task is not None and learning.task not in _installed_tasks():
        found.append(f"the task {learning.task!r} is not installed: this node cannot join; see `p2p-flock doctor`")
    if learning.data_path is not None and not learning.data_path.exists():
        found.append(f"the data {learning.data_path} is not there: this node cannot join; see `p2p-flock doctor`")
    return found


def _installed_tasks() -> list[str]:
    return sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))


async def check_task(scene: Scene) -> list[Finding]:
    """Is the configured task there?"""
    if scene.config is None:
        return [skipped("the settings cannot be read")]
    installed = _installed_tasks()
    listed = ", ".join(installed) or "none"
    task = scene.config.learning.task
    if task is None:
        return [
            warning(
                "no task is set: this node cannot join", f"set learning.task in config.toml; installed are: {listed}"
            )
        ]
    if task not in installed:
        return [
            broken(
                f"the task {task!r} is not installed",
                "install the package that brings it into this environment, or correct learning.task; "
                f"installed are: {listed}",
            )
        ]
    return [fine(f"{task} is installed")]
