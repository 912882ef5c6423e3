"""The command line: every command says what it did, in words or as JSON, and ends with 0, 1 (refused) or 2 (usage)."""

from __future__ import annotations

try:
    import asyncio
    import json
    import os
    from math import isfinite
    from pathlib import Path
    from typing import Annotated, Literal, NoReturn

    import typer
    from rich.console import Console

    from aggregator.feeder.command import feeder_app
    from aggregator.refusal import Refused
except KeyboardInterrupt:  # Ctrl-C before there is a command that could say so
    raise SystemExit("stopped by SIGINT; nothing was written") from None

__all__ = ["app", "main"]

app = typer.Typer(
    name="v2g", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Grid-services aggregator for parked electric vehicles; a digital twin replays every plan before dispatch.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
audit_app = typer.Typer(no_args_is_help=True, help="Check the audit log.")
scenario_app = typer.Typer(no_args_is_help=True, help="Look at scenario files.")
app.add_typer(config_app, name="config")
app.add_typer(audit_app, name="audit")
app.add_typer(scenario_app, name="scenario")
app.add_typer(feeder_app, name="feeder")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_MOST_FAULTS = 1000
"""Lines of faults that are printed; a wrong column of a large fleet has as many as the fleet has cars."""


def _finite(value: float) -> float:
    if not isfinite(value):
        raise typer.BadParameter("expected a finite number")
    return value


def _schema(is_wanted: bool) -> None:
    if is_wanted:
        from aggregator.planning.fleet.files.problem_schema import json_schema  # noqa: PLC0415 - see serve

        typer.echo(json.dumps(json_schema(), indent=1, ensure_ascii=False))
        raise typer.Exit


def fail(message: str) -> NoReturn:
    """One line to stderr, exit 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


@app.command(epilog="Example: v2g serve --config v2g.toml")
def serve(
    config: Annotated[Path, typer.Option(help="Configuration file; V2G_* variables win over it.")] = Path("v2g.toml"),
    ends_with_stdin: Annotated[
        bool, typer.Option("--ends-with-stdin", help="Stop when stdin closes, as when the parent process is gone.")
    ] = False,
) -> None:
    """Run the service: REST, OpenADR and pages on one port, OCPP on another."""
    from aggregator.serving import run_service  # noqa: PLC0415 - the other commands start without the web stack

    try:
        run_service(config, ends_with_stdin=ends_with_stdin)
    except Refused as refusal:
        fail(str(refusal))


@app.command(epilog="Example: v2g demo --speed 480")
def demo(
    speed: Annotated[float, typer.Option(help="Domain seconds per wall second.", min=1.0, max=2000.0)] = 480.0,
    data: Annotated[Path, typer.Option(help="Folder for the database, files and the report.")] = Path("v2g-data/demo"),
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="REST and pages; 0 picks a free one.")] = 8080,
    ocpp_port: Annotated[int, typer.Option(min=0, max=65535, help="OCPP; 0 picks a free one.")] = 9000,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --data after an interruption.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a day at a workplace site through the whole loop, with emulated stations, and write the report."""
    from aggregator.demo import DemoOptions, run_demo  # noqa: PLC0415 - the other commands start without the demo

    console = Console(stderr=as_json)
    try:
        outcome = asyncio.run(run_demo(DemoOptions(speed, data, http_port, ocpp_port, resume), console))
    except Refused as refusal:
        fail(str(refusal))
    if as_json:
        typer.echo(json.dumps(outcome.result))
    raise typer.Exit(0 if outcome.succeeded else 1)


@app.command(
    epilog="Example: v2g station --stations 50 --wire 10 --protocol 2.1 --scenario examples/workplace_acn.toml "
           "--ocpp ws://127.0.0.1:9000"
)
def station(
    ocpp: Annotated[str, typer.Option(metavar="URL", help="The CSMS; the station id is appended to the path.")],
    fleet: Annotated[Path | None, typer.Option(help="Fleet file (JSON): stations, cars, building load.")] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Scenario file (TOML) instead; its day begins now, unless --clock is given.")
    ] = None,
    stations: Annotated[
        int | None, typer.Option(min=1, help="Of a scenario: how many; beyond its own, further rounds of the same.")
    ] = None,
    wire: Annotated[
        int, typer.Option(min=0, help="Of a scenario: how many of them hold real ISO 15118 sessions with their cars.")
    ] = 0,
    protocol: Annotated[
        str | None, typer.Option(help="Of a scenario: OCPP 1.6, 2.0.1 or 2.1 for all; each one's own if not given.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=1.0, max=2000.0, help="Of a scenario without --clock: domain seconds per wall second.")
    ] = 1.0,
    password: Annotated[
        str, typer.Option(envvar="V2G_STATION_PASSWORD", help="Of a scenario: Basic-auth password of every station.")
    ] = "",
    clock: Annotated[Path | None, typer.Option(help="Clock file of a scaled run (JSON).")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Also write every line, and each car's true energy by the minute.")
    ] = None,
    seed: Annotated[int, typer.Option(help="For the jitter of reconnections.")] = 0,
    ends_with_stdin: Annotated[
        bool, typer.Option("--ends-with-stdin", help="Quit when stdin closes, as when the parent process is gone.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "WARNING",
) -> None:
    """Run emulated charging stations against any OCPP server; one JSON line per fact on stdout.

    They run in an environment of their own: V2G_STATION_PYTHON, or .venv-station beside the project.
    """
    from aggregator.stations.command import Emulation, run_scenario, run_stations  # noqa: PLC0415 - see serve

    if (fleet is None) == (scenario is None):
        raise typer.BadParameter("expected either --fleet or --scenario")
    if protocol not in (None, "1.6", "2.0.1", "2.1"):
        raise typer.BadParameter(f"{protocol!r}, expected 1.6, 2.0.1 or 2.1", param_hint="--protocol")
    passed = ["--seed", str(seed), "--log-level", log_level]
    passed += [] if truth is None else ["--truth", str(truth)]
    passed += ["--ends-with-stdin"] if ends_with_stdin else []
    try:
        if fleet is not None:
            code = run_stations(ocpp, fleet, [*([] if clock is None else ["--clock", str(clock)]), *passed])
        else:
            code = run_scenario(
                ocpp, Emulation(scenario or Path(), stations, wire, protocol, speed, clock, password), passed
            )
    except Refused as refusal:
        fail(str(refusal))
    raise typer.Exit(code)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: v2g exi decode 80400040 --protocol sap",
)
def exi(context: typer.Context) -> None:
    """Decode and encode EXI as ISO 15118 and DIN 70121 use it (`v2g exi --help`)."""
    from aggregator.stations.command import run_exi  # noqa: PLC0415 - see serve

    try:
        code = run_exi(context.args)
    except Refused as refusal:
        fail(str(refusal))
    raise typer.Exit(code)


@app.command(epilog="Example: v2g simulate examples/workplace_acn.toml -o out --replicas 50")
def simulate(
    scenario: Annotated[Path, typer.Argument(help="Scenario file (TOML).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, report.html and result.json.")],
    seed: Annotated[int | None, typer.Option(help="Of drivers and faults; the file's own if not given.")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Courses of drivers and faults; as many as the file says if not given.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Who decides, instead of what the file says: uncontrolled, round_robin, edf, "
                                      "laxity, proportional, schedule or planner.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out sessions that cannot be true, and count them.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a scenario in the digital twin: tables, a report and a result that can be compared."""
    from aggregator.studies.command import run_simulation  # noqa: PLC0415 - the other commands start without tables

    try:
        result = run_simulation(scenario, out, seed, replicas, control, Console(stderr=True), skip_bad=skip_bad)
    except Refused as refusal:
        fail(str(refusal))
    typer.echo(json.dumps(result.written) if as_json else result.in_words)


@app.command(epilog="Example: v2g plan examples/fleet_three_sites.json -o plan.json --picture plan.html")
def plan(
    problem: Annotated[Path, typer.Argument(help="Problem file of a fleet (JSON or NPZ).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The plan to write: .npz, or JSON under any other name.")],
    picture: Annotated[
        Path | None, typer.Option(help="The plan as a page (.html) or as one drawing (.svg).")
    ] = None,
    explain: Annotated[
        list[str] | None, typer.Option(help="Id of an EV whose every step the plan says the reason of; may repeat.")
    ] = None,
    gap: Annotated[
        float, typer.Option(min=0.0, callback=_finite, help="Relative gap to the proven bound that is good enough.")
    ] = 1e-3,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=0.0, callback=_finite,
                            help="Seconds after which the best plan so far is written.")
    ] = 60.0,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes, for fleets that are planned block by block.")
    ] = 2,
    executor: Annotated[
        Literal["local", "dask"],
        typer.Option(help="Where blocks are solved: in processes of this machine, or on a Dask cluster."),
    ] = "local",
    scheduler: Annotated[
        str | None, typer.Option(envvar="DASK_SCHEDULER_ADDRESS", help="Of the Dask cluster; without one, one is "
                                                                       "started for this plan.")
    ] = None,
    as_json: JsonFlag = False,
    schema: Annotated[
        bool, typer.Option("--schema", is_eager=True, callback=_schema, help="Print the JSON Schema of problem files.")
    ] = False,
) -> None:
    """Plan a fleet of one to many sites, and say what the plan costs, what is proven and what decided.

    Ends with 0, with 1 if nothing keeps all limits or a file cannot be written, with 2 for a wrong option or a problem
    with faults, all of which are named.
    """
    from aggregator.planning.fleet import ProblemFaults  # noqa: PLC0415 - see serve
    from aggregator.planning.fleet.command import PlanOptions, UsageFault, run_plan  # noqa: PLC0415 - see serve
    from aggregator.planning.fleet.files.problem_file import Unreadable  # noqa: PLC0415 - see serve
    from aggregator.studies.watching import Stopped  # noqa: PLC0415 - see serve

    del schema  # its callback has answered
    options = PlanOptions(out, picture, tuple(explain or ()), gap, time_limit, workers, executor, scheduler)
    try:
        planned = run_plan(problem, options, Console(stderr=True))
    except (Unreadable, ProblemFaults) as refusal:
        faults = str(refusal).split("\n")
        shown = faults if len(faults) <= _MOST_FAULTS else [
            *faults[:_MOST_FAULTS], f"{problem}: {len(faults) - _MOST_FAULTS} more faults"]
        typer.echo("\n".join(shown), err=True)
        raise typer.Exit(2) from None
    except Stopped as refusal:
        typer.echo(str(refusal), err=True)
        # At once: a thread that is still in the solver's own code aborts an interpreter that takes its leave in order.
        os._exit(1)
    except UsageFault as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from None
    except Refused as refusal:
        fail(str(refusal))
    typer.echo(json.dumps(planned.written) if as_json else planned.in_words)


@app.command(epilog="Example: v2g compare out/edf out/planner -o compare.html")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders that v2g simulate has written; the first is the base.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The report to write (HTML).")],
    as_json: JsonFlag = False,
) -> None:
    """Lay simulations side by side, with intervals for their differences."""
    from aggregator.studies.command import run_comparison  # noqa: PLC0415 - see simulate

    try:
        result = run_comparison(runs, out)
    except Refused as refusal:
        fail(str(refusal))
    typer.echo(json.dumps(result.written) if as_json else result.in_words)


@scenario_app.command("check", epilog="Example: v2g scenario check examples/workplace_acn.toml")
def scenario_check(
    file: Annotated[Path, typer.Argument(help="Scenario file (TOML).")], as_json: JsonFlag = False
) -> None:
    """Name every fault of a scenario at once, and what is kept, left out and assumed."""
    from aggregator.studies.command import check_file  # noqa: PLC0415 - see simulate

    result = check_file(file)
    if as_json:
        typer.echo(json.dumps(result.written))
    else:
        for fault in result.faults:
            typer.echo(fault, err=True)
        typer.echo(result.in_words)
    raise typer.Exit(1 if result.faults else 0)


@config_app.command("check", epilog="Example: v2g config check --config v2g.toml")
def config_check(
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("v2g.toml"), as_json: JsonFlag = False
) -> None:
    """Name every fault of the configuration and the files it points to, at once."""
    from aggregator.config import check_config  # noqa: PLC0415 - see serve

    faults = check_config(config)
    if as_json:
        typer.echo(json.dumps([
            {"file": str(f.file), "field": f.field, "value": f.value, "expected": f.expected} for f in faults
        ], default=str))
    else:
        for fault in faults:
            typer.echo(str(fault), err=True)
        if faults:
            typer.echo(f"{config}: {len(faults)} fault{'s' * (len(faults) > 1)}; what depends on them is not judged: "
                       "more may follow once they are mended", err=True)
        else:
            typer.echo(f"{config}: no faults")
    raise typer.Exit(1 if faults else 0)


@audit_app.command("verify", epilog="Example: v2g audit verify --database v2g-data/demo/v2g.sqlite")
def audit_verify(
    database: Annotated[Path, typer.Option(help="SQLite database of the service.")] = Path("v2g-data/v2g.sqlite"),
    as_json: JsonFlag = False,
) -> None:
    """Recompute the hash chain of the audit log and say whether anything was changed, removed or reordered."""
    from aggregator.store import verify_database  # noqa: PLC0415 - see serve

    if not database.is_file():
        fail(f"{database}: no such database")
    verdict = asyncio.run(verify_database(database))
    if as_json:
        typer.echo(json.dumps({
            "ok": verdict.ok, "entries": verdict.entries, "first_bad_seq": verdict.first_bad_seq,
            "reason": verdict.reason,
        }))
    else:
        typer.echo(f"{database}: {verdict.entries} entries, " + ("unbroken" if verdict.ok else verdict.reason))
    raise typer.Exit(0 if verdict.ok else 1)


def main() -> None:
    """Entry point of the `v2g` command."""
    # Products of small matrices are many times slower when every core is asked to help with each; child processes
    # inherit it. numpy reads it once, when it is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app()


if __name__ == "__main__":
    main()
