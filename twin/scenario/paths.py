"""Where a name in a scenario file points: beside the file that says it, or to what the twin ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from twin.scenario_error import ScenarioError

SHIPPED = "twin:"


def resource_path(name: str) -> Path:
    """The path of a file shipped in `twin/data`; raises a `ScenarioError` if there is none of that name."""
    path = Path(str(resources.files("twin") / "data" / name))
    if Path(name).name != name or not path.is_file():
        raise ScenarioError(path, "file", name, "a file shipped with the twin")
    return path


def resolve(name: str, beside: Path) -> Path:
    """The file that `name` means in the scenario file `beside`; `twin:NAME` is a shipped one."""
    if "\0" in name:
        raise ScenarioError(beside, "file", name, "the name of a file, without null characters")
    if name.startswith(SHIPPED):
        return resource_path(name.removeprefix(SHIPPED))
    return beside.parent / name
