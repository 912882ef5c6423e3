"""Which files a scenario is made of, and one figure that changes when any of them does."""

from __future__ import annotations

import hashlib
from pathlib import Path

from twin.feeder.on_disk.files import GRID_FILE, SIDECAR_FILE
from twin.scenario.reading import FILES, read_chain, read_tables, table_at
from twin.scenario_error import ScenarioError


def scenario_files(path: Path | str) -> tuple[tuple[str, Path], ...]:
    """(role, file) of all that is read: the scenario, what it extends in order, what the whole then names.

    Roles are `scenario`, `extends` and the fields that name files, such as `sessions.file`; of a feeder's folder both
    files with their names, such as `feeder.folder.grid.json`. A file that only an
    extended file names, and another one replaces, is not read.

    Raises:
        ScenarioError: as `load_scenario`, as far as files are concerned.
    """
    files = [("extends" if number else "scenario", file) for number, (file, _) in enumerate(read_chain(Path(path)))]
    whole = read_tables(Path(path))
    for *places, field in FILES:
        table = table_at(whole, places)
        if table is not None and isinstance(table.get(field), str):
            role, named = ".".join([*places, field]), Path(table[field])
            files += [(f"{role}.{name}", named / name) for name in (GRID_FILE, SIDECAR_FILE)] if field == "folder" \
                else [(role, named)]
    return tuple(files)


def scenario_sha256(path: Path | str) -> str:
    """SHA-256 (hex) of lines `role sha256-of-the-file`, one for each of `scenario_files`, wherever they lie.

    Raises:
        ScenarioError: a file cannot be read.
    """
    tally = hashlib.sha256()
    for role, file in scenario_files(path):
        try:
            contents = file.read_bytes()
        except OSError as error:
            raise ScenarioError(Path(path), f"$.{role}", str(file), f"a readable file ({error.strerror})") from error
        tally.update(f"{role} {hashlib.sha256(contents).hexdigest()}\n".encode())
    return tally.hexdigest()
