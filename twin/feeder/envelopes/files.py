"""Envelopes on disk, with the fields a distribution operator publishes, as JSON or CSV.

A control is one limit of one connection point from a start for a duration; a default is what holds where no control
is in force. Field names are those of bsgip/envoy, a utility server for CSIP-AUS (`site_id`, `start_time`,
`duration_seconds`, `import_limit_active_watts`, `export_limit_watts`, `superseded`; defaults: `DefaultSiteControl`),
which stand for `opModImpLimW` and `opModExpLimW` of CSIP-AUS on the wire. A site is a connection point here.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from math import gcd, isfinite
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

from twin.assets import TimeGrid, utc
from twin.feeder.envelopes.dynamic import Envelopes, Guarantee, Rule

FORMAT: Final = "v2g-envelopes"
MOST_STEPS: Final = 1_000_000
Watts = Annotated[float, msgspec.Meta(ge=0.0)]
READ_BACK: Final = "read from a file"


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit. superseded: another took its place; it is kept for the record and not in force."""

    site_id: str
    start_time: str
    duration_seconds: Annotated[int, msgspec.Meta(gt=0)]
    import_limit_active_watts: Watts
    export_limit_watts: Watts
    superseded: bool = False


class DefaultControl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds at a connection point where no control is in force."""

    site_id: str
    import_limit_active_watts: Watts
    export_limit_active_watts: Watts


class EnvelopeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """rule, guarantee: None where whoever published them does not say. notes: odd steps in words, for people."""

    format: Literal["v2g-envelopes"]
    version: Literal[1]
    feeder: str
    defaults: list[DefaultControl]
    controls: list[Control]
    rule: Rule | None = None
    guarantee: Guarantee | None = None
    notes: list[str] = []


COLUMNS: Final = ("feeder", "rule", "guarantee", *Control.__struct_fields__)
"""Of the CSV. A default is a row without start and duration."""


class EnvelopeFileError(ValueError):
    """A file of envelopes is missing or wrong; the message names file, field or row, value and what was expected."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")


def write_envelopes(envelopes: Envelopes, path: Path) -> None:
    """Write `path`: CSV if it ends so, otherwise JSON."""
    path.write_bytes(envelope_bytes(envelopes, is_csv=path.suffix.lower() == ".csv"))


def envelope_bytes(envelopes: Envelopes, *, is_csv: bool) -> bytes:
    """The file. Watts are rounded down to 0.1 W, so that none is promised that was not found."""
    content = _content(envelopes)
    if not is_csv:
        return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    head = (content.feeder, content.rule or "", content.guarantee or "")
    for default in content.defaults:
        writer.writerow((*head, default.site_id, "", "", default.import_limit_active_watts,
                         default.export_limit_active_watts, "false"))
    for control in content.controls:
        fields = msgspec.structs.astuple(control)
        writer.writerow((*head, *fields[:-1], "true" if control.superseded else "false"))
    return text.getvalue().encode("utf-8")


def beginning(*, is_csv: bool) -> bytes:
    """How every file that `envelope_bytes` makes begins."""
    return (",".join(COLUMNS) + "\n").encode() if is_csv else f'{{\n "format": "{FORMAT}",'.encode()


def _content(envelopes: Envelopes) -> EnvelopeFile:
    def down(watts: float) -> float:
        return max(float(np.floor(watts * 10.0) / 10.0), 0.0)

    starts = [when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for when in envelopes.grid.times()]
    notes = [
        f"{starts[step]}: {word}" for claims, word in (
            (envelopes.no_solution, "base loads alone have no power flow; limits are 0"),
            (envelopes.unfixable, "base loads alone cross a limit, which the envelopes keep from getting worse"),
        ) for step in np.flatnonzero(claims)
    ]
    return EnvelopeFile(
        FORMAT, 1, envelopes.feeder,
        [
            DefaultControl(point, down(envelopes.fallback_import_w[row]), down(envelopes.fallback_export_w[row]))
            for row, point in enumerate(envelopes.points)
        ],
        [
            Control(point, starts[step], envelopes.grid.step_s, down(envelopes.import_w[row, step]),
                    down(envelopes.export_w[row, step]))
            for row, point in enumerate(envelopes.points) for step in range(envelopes.grid.steps)
        ],
        envelopes.rule, envelopes.guarantee, notes,
    )


def read_envelopes(path: Path) -> Envelopes:
    """Envelopes as somebody published them: superseded controls are left out, gaps are filled with the defaults.

    The grid's step is the largest that every control is a multiple of.

    Raises:
        EnvelopeFileError: a field is wrong, two controls of a point overlap, or one has no default.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise EnvelopeFileError(path, f"cannot be read: {reason}") from None
    try:
        content = _of_csv(text, path) if path.suffix.lower() == ".csv" else msgspec.json.decode(text, type=EnvelopeFile)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise EnvelopeFileError(path, str(error)) from None
    return _envelopes(content, path)


def _of_csv(text: str, path: Path) -> EnvelopeFile:
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise EnvelopeFileError(path, f"row 1: {rows[0] if rows else ''}, expected the columns {', '.join(COLUMNS)}")
    defaults, controls = [], []
    head: tuple[str, ...] | None = None
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(COLUMNS):
            raise EnvelopeFileError(path, f"row {number}: {len(row)} fields, expected {len(COLUMNS)}")
        if head is not None and tuple(row[:3]) != head:
            raise EnvelopeFileError(path, f"row {number}: {row[:3]}, expected {list(head)} as above it")
        head = row[0], row[1], row[2]
        fields = dict(zip(COLUMNS[3:], row[3:], strict=True))
        try:
            if fields["start_time"]:
                controls.append(msgspec.convert(fields, Control, strict=False))
            else:
                defaults.append(msgspec.convert({
                    "site_id": fields["site_id"],
                    "import_limit_active_watts": fields["import_limit_active_watts"],
                    "export_limit_active_watts": fields["export_limit_watts"],
                }, DefaultControl, strict=False))
        except msgspec.ValidationError as error:
            raise EnvelopeFileError(path, f"row {number}: {error}") from None
    if head is None:
        raise EnvelopeFileError(path, "no rows, expected at least one")
    return msgspec.convert({
        "format": FORMAT, "version": 1, "feeder": head[0], "rule": head[1] or None, "guarantee": head[2] or None,
        "defaults": defaults,
        "controls": controls,
    }, EnvelopeFile, from_attributes=True)


@dataclass(frozen=True, slots=True)
class _Span:
    """A control in force, in seconds after the first start."""

    start: int
    seconds: int
    control: Control


def _spans(content: EnvelopeFile, path: Path) -> tuple[datetime, list[_Span]]:
    """The first start, and every control that is in force."""
    found: list[tuple[datetime, Control]] = []
    sites = {default.site_id for default in content.defaults}
    for place, control in enumerate(content.controls):
        where = f"controls[{place}]"
        if control.superseded:
            continue
        if control.site_id not in sites:
            raise EnvelopeFileError(path, f"{where}: site_id {control.site_id!r}, expected one that has a default")
        if not (isfinite(control.import_limit_active_watts) and isfinite(control.export_limit_watts)):
            raise EnvelopeFileError(path, f"{where}: limits {control.import_limit_active_watts}, "
                                          f"{control.export_limit_watts}, expected finite watts")
        try:
            when = utc(control.start_time)
        except ValueError as error:
            raise EnvelopeFileError(path, f"{where}: start_time: {error}") from None
        if when.microsecond:
            raise EnvelopeFileError(path, f"{where}: start_time {control.start_time!r}, expected whole seconds")
        found.append((when, control))
    if not found:
        raise EnvelopeFileError(path, "controls: none in force, expected at least one")
    first = min(when for when, _ in found)
    return first, [
        _Span(int((when - first).total_seconds()), control.duration_seconds, control) for when, control in found
    ]


def _envelopes(content: EnvelopeFile, path: Path) -> Envelopes:
    row_of = {default.site_id: row for row, default in enumerate(content.defaults)}
    if len(row_of) != len(content.defaults):
        raise EnvelopeFileError(path, "defaults: a site_id stands there twice, expected one default for each")
    start, spans = _spans(content, path)
    step_s = reduce(gcd, (number for span in spans for number in (span.start, span.seconds) if number))
    steps = max(span.start + span.seconds for span in spans) // step_s
    if steps > MOST_STEPS:
        raise EnvelopeFileError(path, f"controls: {steps} steps of {step_s} s, expected at most {MOST_STEPS}")
    fallback_import = np.array([default.import_limit_active_watts for default in content.defaults])
    fallback_export = np.array([default.export_limit_active_watts for default in content.defaults])
    import_w, export_w = (np.repeat(one[:, None], steps, axis=1) for one in (fallback_import, fallback_export))
    taken = np.zeros(import_w.shape, dtype=np.bool_)
    for span in spans:
        control = span.control
        row, part = row_of[control.site_id], slice(span.start // step_s, (span.start + span.seconds) // step_s)
        if taken[row, part].any():
            when = start + timedelta(seconds=span.start)
            raise EnvelopeFileError(path, f"site_id {control.site_id!r}: two controls in force from "
                                          f"{when.isoformat()}, expected one to be superseded")
        taken[row, part] = True
        import_w[row, part], export_w[row, part] = control.import_limit_active_watts, control.export_limit_watts
    claims = np.zeros(steps, dtype=np.bool_)
    unsaid = (READ_BACK,) * steps
    return Envelopes(
        content.feeder, tuple(row_of), TimeGrid(start, step_s, steps), import_w, export_w, fallback_import,
        fallback_export, content.rule, content.guarantee, unsaid, unsaid, claims, claims.copy(),
    )
