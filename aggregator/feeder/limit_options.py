"""Options for what a feeder must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.refusal import Refused

if TYPE_CHECKING:
    from twin.feeder.scene import Limits

Voltage = Annotated[
    tuple[float, float], typer.Option(help="Lowest and highest voltage at connection points, p.u. of the bus's rating.")
]
LineLoading = Annotated[float, typer.Option(help="Most current of a line, of its ampacity.")]
TransformerLoading = Annotated[float, typer.Option(help="Most power of a transformer, of its rating.")]
Unbalance = Annotated[
    float, typer.Option(help="Most negative- over positive-sequence voltage at connection points; 0: not judged.")
]


def limits_of(
    voltage: tuple[float, float], line_loading: float, transformer_loading: float, unbalance: float
) -> Limits:
    """The options as limits.

    Raises:
        Refused: a limit that nothing can hold.
    """
    from twin.feeder.scene import Limits, SceneError  # noqa: PLC0415 - other commands start without the solver

    try:
        return Limits(voltage, line_loading, transformer_loading, unbalance or None)
    except SceneError as error:
        raise Refused(str(error)) from None
