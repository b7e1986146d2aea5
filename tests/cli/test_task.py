"""``p2p-flock task``: lists what is installed, begins a new one, overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p_flock.cli.main import main
from p2p_flock.errors import UsageError


def test_list__shows_installed_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """The names that --task takes would have to be guessed."""
    assert main(["task", "list", "--json"]) == 0
    found = {entry["task"]: entry for entry in json.loads(capsys.readouterr().out)["tasks"]}
    assert set(found) >= {"heart", "digits", "digits-1m", "digits-50m", "lending"}
    assert found["heart"]["object"] == "p2p_flock.learning.tasks.heart:HeartTask"
    assert main(["task", "list"]) == 0
    assert "heart" in capsys.readouterr().out


def test_new__writes_a_package_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second call would overwrite a newcomer's work."""
    folder = tmp_path / "deep" / "x-ray"
    assert main(["task", "new", "x-ray", "--directory", str(folder)]) == 0
    assert f"pip install -e {folder}" in capsys.readouterr().out
    names = {"x_ray_task.py", "test_x_ray_task.py", "pyproject.toml", "README.md", "example.csv"}
    assert {path.name for path in folder.iterdir()} == names
    assert 'x-ray = "x_ray_task:XRayTask"' in (folder / "pyproject.toml").read_text()
    with pytest.raises(UsageError, match="not empty"):
        main_raising(["task", "new", "x-ray", "--directory", str(folder)])


@pytest.mark.parametrize("name", ["", "X", "9a", "a_b", "a--b", "-a", "a/b", "../a", "a" * 49])
def test_new__refuses_names(name: str, tmp_path: Path) -> None:
    """A name with a path in it would write elsewhere; others fail at installation."""
    with pytest.raises(UsageError, match="no name for a task"):
        main_raising(["task", "new", "--directory", str(tmp_path / "new"), "--", name])
    assert not (tmp_path / "new").exists()


def main_raising(arguments: list[str]) -> None:
    """The command without the translation of errors into words and exit codes."""
    from p2p_flock.cli.main import root  # noqa: PLC0415

    root.main(args=arguments, standalone_mode=False)
