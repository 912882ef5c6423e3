"""An OpenDSS script taken apart before OpenDSS sees it: which commands, from which line of which file, in which folder.

Scripts from others are programs: they can write files, load libraries and run forever. So the files are read here,
redirects followed here, and only commands that describe a network are handed on; reports and plots are left out by
name, and what could do harm or is not known is refused, all of it at once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twin.feeder.importers.imported import Degree, Finding, ImportRefused
from twin.feeder.network.model import Origin

NETWORK: Final = (
    "new", "edit", "more", "m", "set", "calcvoltagebases", "setkvbase", "solve", "buscoords", "latlongcoords", "enable",
    "disable", "open", "close", "batchedit", "redirect", "compile", "clear", "clearall", "select", "makebuslist",
    "allocateloads", "var", "init",
)
"""Commands that are carried out."""

REPORTS: Final = (
    "show", "export", "plot", "visualize", "save", "dump", "sample", "reset", "closedi", "di_plot", "comparecases",
    "yearlycurves", "fileedit", "formedit", "help", "about", "get", "summary", "interpolate", "addbusmarker",
    "clearbusmarkers", "valvarm", "totals", "capacity", "guids", "cleanup", "buildy", "nodelist", "panel", "alignfile",
    "currents", "powers", "voltages", "losses", "seqvoltages", "seqcurrents", "seqpowers", "phaselosses", "varvalues",
    "varnames", "cktlosses", "meteredsum", "zsc", "zsc10", "zscrefresh", "ysc", "nodediff", "fault", "dumpmonitor",
    "rotate", "wait", "pstcalc", "_showcontrolqueue", "_sampledevices", "votlages", "classes", "userclasses",
    "connect", "disconnect", "exportoverloads", "exportvviolations", "relcalc", "calcincmatrix", "lastcmd",
)
"""Commands that only tell, draw or write: left out."""

OPTIONS: Final = (
    "defaultbasefrequency", "frequency", "voltagebases", "loadmult", "loadmodel", "algorithm", "controlmode",
    "maxcontroliter", "maxiterations", "tolerance", "earthmodel", "growth", "pctgrowth", "cktmodel", "trapezoidal",
    "normvminpu", "normvmaxpu", "emergvminpu", "emergvmaxpu", "allocationfactors", "defaultdaily", "defaultyearly",
    "defaultgrowth", "harmonics", "longlinecorrection", "zonelock", "duplicates", "addtype",
)
"""Options of `set` that are kept."""

WATCHING: Final = ("monitor", "sensor", "spectrum")
"""Classes whose elements watch the network and are no part of it."""

NAMED_ONLY: Final = ("generator", "generic5", "indmach012", "windgen", "pvsystem", "storage", "capcontrol")
"""Classes in which some property names a library to load: their properties must be named to be seen."""

LIBRARY: Final = re.compile(r"(?<![\w%])(u|us|use|user\w*|shaft\w*|dyn\w*)\s*=", re.IGNORECASE)
WRITING: Final = re.compile(r"(?<![\w%])(act?|acti\w*)\s*=", re.IGNORECASE)
"""Property `action` of shapes writes files."""

MOST_LINES: Final = 500_000
MOST_BYTES: Final = 64 * 2**20
MOST_FILES: Final = 1_000
DEEPEST: Final = 32
SHORTEST: Final = 4
"""Letters from which a command may be cut short: `calcv`."""

_FIRST = re.compile(r"\s*(~|[^\s=,.]+)(?=[\s=,(\[{\"']|$)")
_DIRECT = re.compile(r"\s*([A-Za-z_]\w*)\.([^\s=]+)\.(%?\w+)\s*=")
_TOKEN = re.compile(
    r"[\s,]*(?:([%\w.\-]+)\s*=\s*)?(\"[^\"]*\"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|[^\s,=]+)"
)
_COMMENT = re.compile(r"!|//")


@dataclass(frozen=True, slots=True)
class Command:
    """One line for OpenDSS. folder: where its relative paths start."""

    text: str
    origin: Origin
    folder: Path


@dataclass
class Script:
    """What a .dss and all that it redirects to come to.

    places: where each element was made, by `class.name` in small letters. named: properties that are given for it,
        by their names as written, in small letters; `like` and `linecode` with what they point to.
    """

    commands: list[Command] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    places: dict[str, Origin] = field(default_factory=dict)
    named: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    batches: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def gives(self, element: str, name: str) -> bool:
        """Whether a property of `class.name` is written down, for itself, by `like` or by a batch."""
        seen: set[str] = set()
        kind = element.partition(".")[0]
        todo = [element]
        while todo:
            one = todo.pop()
            if one in seen:
                continue
            seen.add(one)
            here = self.named.get(one, {})
            if any(is_short_for(given, name) for given in here):
                return True
            if "like" in here:
                todo.append(f"{kind}.{here['like']}")
        return any(
            kind == of and re.fullmatch(pattern, element.partition(".")[2]) and any(
                is_short_for(given, name) for given in names
            )
            for of, pattern, names in self.batches
        )


def is_short_for(given: str, name: str) -> bool:
    """Whether `given` is `name` or is cut short from it as OpenDSS allows."""
    return given == name or (len(given) >= SHORTEST and name.startswith(given))


def read_script(path: Path) -> Script:
    """Read `path` and all that it redirects to.

    Raises:
        ImportRefused: files missing, not text, redirecting in a circle or too large; commands that are not known or
            could do harm. All at once.
    """
    reader = _Reader(path)
    reader.read(path, ())
    reader.close()
    if reader.reasons:
        raise ImportRefused(path, *reader.reasons)
    return reader.script


class _Reader:
    """Walks through the files in the order in which OpenDSS would."""

    def __init__(self, path: Path) -> None:
        self.script = Script()
        self.reasons: list[str] = []
        self._folder = path.resolve().parent
        self._files = 0
        self._lines = 0
        self._bytes = 0
        self._left_out: Counter[str] = Counter()
        self._first: dict[str, Origin] = {}
        self._element = ""
        self._kept = True

    def read(self, path: Path, above: tuple[Path, ...]) -> None:
        """One file, line by line."""
        real = path.resolve()
        text = self._text(path)
        if text is None:
            return
        in_comment = False
        for number, raw in enumerate(text.splitlines(), start=1):
            self._lines += 1
            if self._lines > MOST_LINES:
                self.reasons.append(f"{path}:{number}: more than {MOST_LINES:,} lines in all, expected a network")
                return
            line = raw.strip()
            if line.startswith("/*"):
                in_comment = True
            if in_comment:
                in_comment = "*/" not in line
                continue
            line = _without_comment(line)
            if line:
                self._command(line, Origin(str(path), number), (*above, real))

    def close(self) -> None:
        """Say what was left out, once for each command."""
        for what, count in self._left_out.items():
            times = f", {count} times" if count > 1 else ""
            self.script.findings.append(
                Finding(Degree.NOT_RUN, "command", what, f"changes no network and is not run{times}",
                        self._first[what])
            )

    def _text(self, path: Path) -> str | None:
        try:
            found = _as_spelled(path)
            size = found.stat().st_size if found.is_file() else 0
            self._bytes += size
            if not found.is_file():
                self.reasons.append(f"{path}: no such file, expected an OpenDSS script")
                return None
            if self._bytes > MOST_BYTES:
                self.reasons.append(f"{path}: more than {MOST_BYTES // 2**20} MiB in all, expected a network")
                return None
            raw = found.read_bytes()
        except OSError as error:
            self.reasons.append(f"{path}: {error.strerror or error}")
            return None
        if b"\0" in raw:
            self.reasons.append(f"{path}: is no text, expected an OpenDSS script")
            return None
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def _leave_out(self, what: str, origin: Origin) -> None:
        self._left_out[what] += 1
        self._first.setdefault(what, origin)

    def _keep(self, text: str, origin: Origin) -> None:
        self.script.commands.append(Command(text, origin, self._folder))

    def _command(self, line: str, origin: Origin, above: tuple[Path, ...]) -> None:
        direct = _DIRECT.match(line)
        if direct and direct[1].lower() not in NETWORK:
            self._edit(f"{direct[1]}.{direct[2]}".lower(), line[direct.start(3):], line, origin)
            return
        first = _FIRST.match(line)
        verb = first[1].lower() if first else ""
        rest = line[first.end():].strip() if first else ""
        full = _full(verb)
        if verb == "~" or full in {"more", "m"}:
            self._continue(rest, line, origin)
        elif full in {"new", "edit"}:
            self._new(full, rest, line, origin)
        elif full in {"redirect", "compile"}:
            self._redirect(full, rest, origin, above)
        elif full == "set":
            self._set("set", rest, origin)
        elif full == "solve":
            self._set("solve", rest, origin)
        elif full == "batchedit":
            self._batch(rest, line, origin)
        elif full in NETWORK:
            self._keep(line, origin)
        elif full in REPORTS or verb == "?":
            self._leave_out(full or verb, origin)
        else:
            self.reasons.append(f"{origin}: {line[:60]!r}: not a command that is known here, expected a network")

    def _new(self, verb: str, rest: str, line: str, origin: Origin) -> None:
        token = _TOKEN.match(rest)
        name = _bare(token[2]).lower() if token else ""
        if not name:
            self.reasons.append(f"{origin}: {line[:60]!r}: expected an element, such as Line.a")
            return
        kind, _, own = name.partition(".")
        self._kept = True
        if kind in WATCHING:
            self._kept = False
            self._leave_out(f"{verb} {kind}", origin)
            return
        if kind == "circuit":
            self.script.places.setdefault("vsource.source", origin)
        elif verb == "new" and own:
            self.script.places.setdefault(name, origin)
        self._edit(name, rest[token.end():] if token else "", line, origin)

    def _continue(self, rest: str, line: str, origin: Origin) -> None:
        if self._kept:
            self._edit(self._element, rest, line, origin)

    def _edit(self, element: str, properties: str, line: str, origin: Origin) -> None:
        self._element, self._kept = element, True
        kind = element.partition(".")[0]
        if LIBRARY.search(properties):
            self.reasons.append(f"{origin}: {line[:60]!r}: loads a library, expected a network and no program")
            return
        if "shape" in kind and WRITING.search(properties):
            self.reasons.append(f"{origin}: {line[:60]!r}: writes a file, expected a network")
            return
        names = self.script.named[element]
        for token in _TOKEN.finditer(properties):
            if token[1] is not None:
                names[token[1].lower()] = _bare(token[2]).lower()
            elif kind in NAMED_ONLY:
                self.reasons.append(f"{origin}: {line[:60]!r}: expected every property of a {kind} with its name")
                return
        self._keep(line, origin)

    def _batch(self, rest: str, line: str, origin: Origin) -> None:
        token = _TOKEN.match(rest)
        kind, _, pattern = (_bare(token[2]).lower() if token else "").partition(".")
        properties = rest[token.end():] if token else ""
        before = len(self.reasons)
        self._edit(f"{kind}.*", properties, line, origin)
        if len(self.reasons) == before:
            try:
                re.compile(pattern)
            except re.error:
                self.reasons.append(f"{origin}: {pattern!r}: expected a regular expression")
                return
            names = {one[1].lower(): _bare(one[2]).lower() for one in _TOKEN.finditer(properties) if one[1]}
            self.script.batches.append((kind, f".*(?:{pattern}).*", names))

    def _set(self, verb: str, rest: str, origin: Origin) -> None:
        kept = []
        for token in _TOKEN.finditer(rest):
            name = (token[1] or "").lower()
            if any(is_short_for(name, option) for option in OPTIONS):
                kept.append(f"{name}={token[2]}")
            elif name == "mode" and _bare(token[2]).lower().startswith("snap"):
                continue
            else:
                self._leave_out(f"set {name or _bare(token[2]).lower()}", origin)
        if kept or verb == "solve":
            self._keep(" ".join((verb, *kept)), origin)

    def _redirect(self, verb: str, rest: str, origin: Origin, above: tuple[Path, ...]) -> None:
        token = _TOKEN.match(rest)
        if token is None:
            self.reasons.append(f"{origin}: {verb}: expected a file")
            return
        # A name may hold blanks without being quoted only where nothing else follows it.
        name = _bare(token[2]) if token[2][:1] in "\"'([{" else rest.strip()
        path = _as_spelled(self._folder / name.replace("\\", "/"))
        real = path.resolve()
        if real in above:
            self.reasons.append(f"{origin}: {verb} {name}: is being read already, expected no circle")
            return
        if len(above) >= DEEPEST:
            self.reasons.append(f"{origin}: {verb} {name}: {DEEPEST} files deep, expected fewer")
            return
        if not path.is_file():
            self.reasons.append(f"{origin}: {verb} {name}: no such file")
            return
        self._files += 1
        if self._files > MOST_FILES:
            if self._files == MOST_FILES + 1:
                self.reasons.append(f"{origin}: {verb} {name}: more than {MOST_FILES:,} files in all")
            return
        before = self._folder
        self._folder = real.parent
        self.read(path, above)
        if verb == "redirect":
            self._folder = before


def _full(verb: str) -> str:
    """The command that `verb` is, or is cut short from; empty: none."""
    for known in (NETWORK, REPORTS):
        for name in known:
            if verb == name:
                return name
    found = [name for name in (*NETWORK, *REPORTS) if len(verb) >= SHORTEST and name.startswith(verb)]
    return found[0] if found else ""


def _bare(value: str) -> str:
    return value[1:-1].strip() if value[:1] in "\"'([{" and len(value) > 1 else value


def _without_comment(line: str) -> str:
    quoted = re.sub(r"\"[^\"]*\"|'[^']*'", lambda found: "_" * len(found[0]), line)
    sign = _COMMENT.search(quoted)
    return line if sign is None else line[:sign.start()].strip()


def _as_spelled(path: Path) -> Path:
    """`path`, or the file beside it that differs in capitals only: scripts come from systems that do not care."""
    if path.exists() or not path.parent.is_dir():
        return path
    return next((one for one in path.parent.iterdir() if one.name.lower() == path.name.lower()), path)
