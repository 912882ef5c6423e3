"""What the configuration means to the parts: the assets file, the tariff and past sessions in each room's own words.

Apart from the service, so that whoever needs a site's model (the demo's other days) loads no web stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from aggregator.config.assets_file import AssetsFile
from aggregator.config.settings import Settings
from aggregator.dispatch.fast_loop import NewcomerRoom
from aggregator.dispatch.permits import DischargeUse, EvseApproval, PermitBook, VehicleApproval
from aggregator.fleet.beliefs import SiteDefaults, VehicleModel
from aggregator.planning.site.forecast import ArrivalForecast, BaseLoadForecast
from aggregator.planning.site.situation import SiteModel
from markets.rate import RateSchedule

if TYPE_CHECKING:
    from aggregator.store import SessionRecord


def site_model(assets: AssetsFile, rate: RateSchedule, settings: Settings) -> SiteModel:
    """What planning needs to know of the configuration."""
    section, wear = assets.site_section, assets.wear_per_kwh()
    return SiteModel(
        site=assets.site(), evses={evse.id: evse for evse in assets.evses()},
        vehicles={name: VehicleModel(vehicle, wear[name]) for name, vehicle in assets.vehicles().items()},
        rate=rate, base_load=BaseLoadForecast(section.base_load_forecast_kw, section.timezone),
        arrivals=None if section.arrivals_per_hour is None else ArrivalForecast(
            section.arrivals_per_hour, section.arrival_energy_kwh, section.arrival_power_kw, section.timezone
        ),
        ready_quantile=settings.ready_quantile or None, outstay_share=settings.outstay_share or None,
        early_leave_per_kwh=settings.early_leave_price_per_kwh, change_per_kwh=settings.change_price_per_kwh,
        step_s=settings.step_s, steps=settings.horizon_steps, street=assets.street,
    )


def permit_book(assets: AssetsFile) -> PermitBook:
    """Every permit that the assets file grants."""
    currents = {evse.id: evse.current for evse in assets.evses()}
    permits = assets.permits
    return PermitBook.of(
        tuple(
            EvseApproval(p.evse_id, p.reference, p.grid_code, p.max_discharge_kw, currents[p.evse_id], p.expires)
            for p in permits.evses
        ),
        permits.site_export_limit_kw,
        tuple(
            VehicleApproval(
                p.model, p.current, p.warranty_kwh, p.warranty_hours,
                frozenset(p.evse_ids) if p.evse_ids is not None else None,
            )
            for p in permits.vehicles
        ),
        permits.programmes,
    )


def site_defaults(assets: AssetsFile) -> SiteDefaults:
    """What is assumed of a driver who declared nothing: the most common kind of car, by order in the file."""
    section = assets.site_section
    return SiteDefaults(
        timedelta(hours=section.default_stay_h), section.default_request_kwh, assets.vehicle_sections[0].id
    )


def feeder_room(assets: AssetsFile) -> NewcomerRoom | None:
    """What looks after cars that come between two plans; None where nothing is known of a feeder."""
    if assets.street is None:
        return None
    from aggregator.dispatch.feeder_share import FeederRoom  # noqa: PLC0415 - power flows load only where there is one

    return FeederRoom(assets.street, {evse.id: evse.min_charge_kw for evse in assets.evses()})


def past_use(sessions: Sequence[SessionRecord]) -> dict[str, DischargeUse]:
    """Discharge of ended sessions by car, as warranties count it."""
    use: dict[str, DischargeUse] = {}
    for session in sessions:
        if session.ended_at is None or not session.export_wh:
            continue
        kwh = (session.export_wh - session.export_wh_start) / 1000.0
        if kwh > 0:
            hours = max(0.0, (session.ended_at - session.started_at).total_seconds() / 3600.0)
            use[session.id_token] = use.get(session.id_token, DischargeUse()).plus(kwh, hours)
    return use
