"""`v2g feeder envelope`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from aggregator.feeder.limit_options import LineLoading, TransformerLoading, Unbalance, Voltage, limits_of
from aggregator.feeder.options import FeederPath, JsonFlag, refusals_told


def envelope(
    feeder: FeederPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the envelopes: .json or .csv.")],
    loads: Annotated[
        Path | None, typer.Option(help="CSV: `time`, then watts by connection point. Default: as in v2g feeder flow.")
    ] = None,
    rule: Annotated[
        Literal["equal", "proportional", "max-total"], typer.Option(help="How what the feeder bears is shared out.")
    ] = "equal",
    guarantee: Annotated[
        Literal["mix", "together"],
        typer.Option(help="mix: no limit is crossed in any mix that was found, each point anywhere between its "
                          "limits; it is told whether all or a sample were solved. together: with all at their "
                          "import, or all at their export limit."),
    ] = "mix",
    points: Annotated[
        str | None, typer.Option(help="Connection points that get one, such as 'home-*'. Default: those without a "
                                      "load of their own; all, if all have one.")
    ] = None,
    most_kw: Annotated[
        float | None, typer.Option(help="Most of any point. Default: its fuse, or what else is rated there.", min=0.001)
    ] = None,
    voltage: Voltage = (0.9, 1.1),
    line_loading: LineLoading = 1.0,
    transformer_loading: TransformerLoading = 1.0,
    unbalance: Unbalance = 0.02,
    picture: Annotated[
        Path | None, typer.Option(help="SVG: the feeder with all at their import, and all at their export limits.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Work out import and export limits for every connection point and step.

    FEEDER may be the word `example`. Ends with 1 where a step has no solution even without anybody's flexible power,
    or where the second engine says otherwise; with 2 where the feeder or its loads cannot be used.
    """
    from aggregator.feeder.envelope_run import run_envelope  # noqa: PLC0415 - help appears without the solver
    from twin.feeder.envelopes.terms import Guarantee, Rule  # noqa: PLC0415 - as above

    with refusals_told():
        limits = limits_of(voltage, line_loading, transformer_loading, unbalance)
        result = run_envelope(
            feeder, loads, out, limits, rule=Rule(rule), guarantee=Guarantee(guarantee), pattern=points,
            most_w=None if most_kw is None else 1000.0 * most_kw, picture=picture,
        )
    typer.echo(json.dumps(result.as_json) if as_json else result.in_words)
    raise typer.Exit(0 if result.is_sound else 1)
