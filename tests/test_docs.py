"""The pages for readers hold against the code: links, paths, commands, options, modules, variables all exist."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.routing import APIRoute

from aggregator.api import auth, discharge_stops, fleet, grid_signals, health, openadr, site
from aggregator.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "NOTICE", *sorted((ROOT / "docs").rglob("*.md")))
SOURCES = ("aggregator", "markets", "twin", "benchmarks", "tests", "Makefile")
FOLDERS = "aggregator|markets|twin|tests|benchmarks|docs|examples"

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./*-]*\w/?)")
URL = re.compile(r"(?:\$base|:\d+|(?<![\w./]))(/(?:v1|openadr3|oauth|readyz|livez|healthz|metrics)\b[\w/.{}-]*)")
DOTTED = re.compile(r"(?<![\w./-])((?:aggregator|markets|twin)(?:\.[A-Za-z_]\w*)+)(?![\w/])")


def text(page: Path) -> str:
    return page.read_text("utf-8")


def code(page: Path) -> list[str]:
    """What a page shows as code: lines of its blocks, and what stands between backticks."""
    shown = text(page)
    blocks = [line for _, block in FENCE.findall(shown) for line in _whole_lines(block)]
    return blocks + INLINE.findall(FENCE.sub("", shown))


def _whole_lines(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def called(page: Path, program: str) -> Iterator[list[str]]:
    """Words of every call of `program` that a page shows, without the remark behind it."""
    for line in code(page):
        found = re.search(rf"(?:^|[|;&(]\s*|\s)({program}(?:\s.*)?)$", line.split("    ")[0].strip())
        if found and not line.lstrip().startswith(("#", "//", program + ":")):
            yield _words(found[1])


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an apostrophe of the sentence around it
        return line.split()


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text(page)), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in LINK.findall(FENCE.sub("", text(page))):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        there = page if not name else (page.parent / name).resolve()
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert lost == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = {PAGES[0]}, [PAGES[0]]
    while ahead:
        page = ahead.pop()
        links = {(page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(text(page))}
        pages = {inner for link in links for inner in ([link] if link.is_file() else link.glob("*.md"))}
        fresh = {one for one in pages if one.suffix == ".md"} - seen
        seen |= fresh
        ahead += fresh
    assert [named(page) for page in PAGES if "docs" in page.parts and page not in seen] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    shown = [found for line in code(page) for found in PATH.findall(line)]
    assert [name for name in shown if not any(ROOT.glob(name.rstrip("/")))] == []


def test_the_readmes_map_of_the_house_is_the_house() -> None:
    section = text(ROOT / "README.md").partition("## Find your way")[2].partition("```\n")[2].partition("```")[0]
    missing, above = [], ""
    for line in section.splitlines():
        names = re.match(r"( *)((?:[\w.]+(?:/|\.py) *)+)", line)
        assert names is not None, line
        folders = names[2].split()
        missing += [f"{above}{name}" for name in folders if names[1] and not (ROOT / above / name).exists()]
        if not names[1]:
            above = folders[0]
            missing += [above] if not (ROOT / above).is_dir() else []
    assert missing == []


@cache
def v2g() -> Any:
    return typer.main.get_command(app)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words behind its name."""
    found = v2g()
    rest = words[1:]
    while hasattr(found, "commands") and rest and rest[0] in found.commands:
        found, rest = found.commands[rest[0]], rest[1:]
    return found, rest


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    wrong = []
    for words in called(page, "v2g"):
        command, rest = command_of(words)
        if hasattr(command, "commands"):
            # A group alone is only spoken of; what stands behind it has to be one of its commands, or an option.
            wrong += [" ".join(words)] if rest and re.fullmatch(r"[a-z]+", rest[0]) else []
            continue
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
        if not command.context_settings.get("ignore_unknown_options"):
            wrong += [f"{' '.join(words)}: {option}" for option in sorted(given - known - {"--help"})]
    assert wrong == []


def test_every_command_is_told_of() -> None:
    told = {command_of(words)[0] for page in PAGES for words in called(page, "v2g")}

    def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield name, command
        for key, inner in getattr(command, "commands", {}).items():
            yield from leaves(inner, f"{name} {key}")

    assert [name for name, command in leaves(v2g(), "v2g") if command not in told] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_script_that_a_page_calls_has_the_options_it_is_given(page: Path) -> None:
    wrong = []
    for line in code(page):
        for script, rest in re.findall(r"\b(benchmarks/\w+\.py)((?: +[^|;&`]+)?)", line):
            source = text(ROOT / script)
            wrong += [f"{script} {option}" for option in re.findall(r"(?<!\S)--[a-z][\w-]*", rest)
                      if f'"{option}"' not in source]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), flags=re.MULTILINE))
    assert {words[1] for words in called(page, "make") if len(words) > 1} <= targets


def test_every_benchmark_is_named_where_its_figures_are() -> None:
    made = [path for path in (ROOT / "twin" / "data").rglob("*") if path.suffix in (".md", ".toml", ".csv")]
    pages = " ".join(text(page) for page in (*PAGES, *made, *(ROOT / "twin").rglob("*.py")))
    scripts = {path.name: text(path) for path in (ROOT / "benchmarks").glob("*.py")}
    run = [name for name, source in scripts.items() if "__main__" in source]
    helps = {name for name in run for other, source in scripts.items() if other != name and name in source}
    assert [name for name in run if name not in pages and name not in helps] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_module_and_name_that_a_page_names_is_there(page: Path) -> None:
    asked = {found for line in code(page) for found in DOTTED.findall(line)}
    assert [name for name in sorted(asked) if not is_there(name.split("."))] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_shows_in_python_is_python_and_imports_what_is_there(page: Path) -> None:
    imports = [
        f"{node.module}.{each.name}" for language, block in FENCE.findall(text(page)) if language == "python"
        for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom) for each in node.names
    ]
    ours = [name.split(".") for name in imports if name.startswith(("aggregator.", "markets.", "twin."))]
    assert [name for name in ours if not is_there(name)] == []


def is_there(parts: list[str]) -> bool:
    """A module, or a name in one; read and not imported, since some live in the stations' environment only."""
    place = ROOT.joinpath(*parts)
    if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
        return True
    return any(_holds(ROOT.joinpath(*parts[:n]), parts[n:]) for n in range(len(parts) - 1, 0, -1))


def _holds(place: Path, names: list[str]) -> bool:
    source = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
    body: list[ast.stmt] | None = None if source is None else ast.parse(text(source)).body
    for name in names:
        if body is None or name not in (defined := _defined(body)):
            return False
        body = defined[name]
    return True


def _defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt] | None]:
    """Names that statements bind, each with the body that it has, if any."""
    found: dict[str, list[ast.stmt] | None] = {}
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[node.name] = node.body
            case ast.Import() | ast.ImportFrom():
                found |= dict.fromkeys(each.asname or each.name for each in node.names)
            case ast.Assign():
                names = (inner for target in node.targets for inner in ast.walk(target))
                found |= dict.fromkeys(name.id for name in names if isinstance(name, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = None
            case ast.If():  # what is imported for type checkers, and handed out when it is asked for
                found |= _defined(node.body)
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_address_that_a_page_calls_is_served(page: Path) -> None:
    routers = (auth, discharge_stops, fleet, grid_signals, health, openadr, site)
    served = [route.path_regex for module in routers for route in module.router.routes if isinstance(route, APIRoute)]
    asked = {address for line in code(page) for address in URL.findall(line)}
    assert [address for address in sorted(asked) if not any(path.match(address) for path in served)] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_environment_variable_that_a_page_names_is_read(page: Path) -> None:
    asked = set(re.findall(r"\bV2G_[A-Z_]*[A-Z]\b", text(page)))
    assert asked <= _variables()


@cache
def _variables() -> set[str]:
    files = [path for name in SOURCES[:4] for path in (ROOT / name).rglob("*.py")]
    return {name for path in files for name in re.findall(r"\bV2G_[A-Z_]*[A-Z]\b", text(path))}
