"""The figures by which courses of a run, and runs, are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run that replicas can be compared by. less_is_better: None where neither is.

    shown_times: factor from the figure as it is kept (shares as fractions) to the unit in which it is shown.
    """

    key: str
    title: str
    unit: str
    digits: int = 1
    less_is_better: bool | None = None
    shown_times: float = 1.0

    @property
    def difference_unit(self) -> str:
        """Of a difference between two figures: from 184 % to 88 % is 96 points, not 96 %."""
        return "percentage points" if self.unit == "%" else self.unit


MEASURES: tuple[Measure, ...] = (
    Measure("visits", "Cars that came", "", 0),
    Measure("short_drivers", "Drivers who left short", "", 1, less_is_better=True),
    Measure("short_kwh", "Energy they lacked", "kWh", 1, less_is_better=True),
    Measure("plugged_in", "Cars still plugged in at the end", "", 1),
    Measure("plugged_in_kwh", "Energy those still lacked then", "kWh", 1),
    Measure("peak_kw", "Highest power drawn at a connection point (mean of a step)", "kW", 1, less_is_better=True),
    Measure("over_cap_kwh", "Energy beyond the caps", "kWh", 2, less_is_better=True),
    Measure("site_import_kwh", "Drawn from the grid", "kWh", 0),
    Measure("site_export_kwh", "Given to the grid", "kWh", 0),
    Measure("ev_import_kwh", "Into the cars, at the connector", "kWh", 0),
    Measure("ev_export_kwh", "Out of the cars, at the connector", "kWh", 0),
    Measure("battery_kwh", "Gained by the batteries", "kWh", 0),
    Measure("loss_kwh", "Lost on the way", "kWh", 0, less_is_better=True),
    Measure("event_delivered_kwh", "Reduction delivered in events", "kWh", 1, less_is_better=False),
    Measure("event_kept_share", "Share of the promise that was kept", "%", 1, less_is_better=False, shown_times=100.0),
    Measure("event_short_drivers", "Drivers short who were not without the event", "", 1, less_is_better=True),
    Measure("event_short_kwh", "Energy lacking to all who left, more than without the event", "kWh", 1,
            less_is_better=True),
    Measure("throughput_kwh", "Through the batteries, in and out", "kWh", 0),
    Measure("wear_calendar", "Battery life used by time at the chargers, all cars", "millionths of a life", 1,
            less_is_better=True, shown_times=1e6),
    Measure("wear_cycle", "Battery life used by charging and discharging, all cars", "millionths of a life", 1,
            less_is_better=True, shown_times=1e6),
    Measure("wear", "Battery life used, all cars", "millionths of a life", 1, less_is_better=True, shown_times=1e6),
    Measure("event_wear", "Battery life used because of an event", "millionths of a life", 1, less_is_better=True,
            shown_times=1e6),
    Measure("feeder_caused_minutes", "Time in which EVs put the feeder beyond a limit", "min", 0, less_is_better=True),
    Measure("feeder_plain_minutes", "The same in the run without the event", "min", 0, less_is_better=True),
    Measure("feeder_event_minutes", "Time in which the event put the feeder beyond a limit", "min", 0,
            less_is_better=True),
    Measure("feeder_voltage_minutes", "Voltage beyond its limits because of EVs, all connection points", "min", 0,
            less_is_better=True),
    Measure("feeder_event_voltage_minutes", "Voltage beyond its limits because of the event, all connection points",
            "min", 0, less_is_better=True),
    Measure("feeder_unfixable_minutes", "Voltage beyond its limits without EVs too, all connection points", "min", 0),
    Measure("feeder_overload_minutes", "Time in which EVs overload a line of the feeder", "min", 0,
            less_is_better=True),
    Measure("feeder_transformer_minutes", "Time in which EVs overload a transformer of the feeder", "min", 0,
            less_is_better=True),
    Measure("feeder_low_pu", "Lowest voltage at a connection point", "p.u.", 3, less_is_better=False),
    Measure("feeder_high_pu", "Highest voltage at a connection point", "p.u.", 3),
    Measure("feeder_line_loading", "Highest loading of a line's phase", "%", 1, less_is_better=True, shown_times=100.0),
    Measure("feeder_transformer_loading", "Highest loading of a transformer", "%", 1, less_is_better=True,
            shown_times=100.0),
    Measure("feeder_unbalance", "Highest unbalance of voltages", "%", 2, less_is_better=True, shown_times=100.0),
    Measure("feeder_losses_kwh", "Lost in the feeder", "kWh", 1, less_is_better=True),
    Measure("feeder_unsolved", "Steps in which the feeder cannot carry what is asked", "", 0, less_is_better=True),
    Measure("feeder_hot_spot_c", "Hottest spot of a transformer", "°C", 1, less_is_better=True),
    Measure("feeder_ageing_h", "Life that a transformer lost", "h", 3, less_is_better=True),
    Measure("withheld_import_kwh", "Charging that inverters withheld", "kWh", 1, less_is_better=True),
    Measure("withheld_export_kwh", "Feeding in that inverters withheld", "kWh", 1, less_is_better=True),
    Measure("inverter_trips", "Disconnections by grid protection, all EVSEs", "", 1, less_is_better=True),
    Measure("inverter_unsolved_s", "Time without a power flow, in which nothing was delivered", "s", 0,
            less_is_better=True),
    Measure("inverter_unsettled_s", "Time in which flow and inverters did not agree", "s", 0, less_is_better=True),
)
