"""One emulated charging station: cars come and go, a driver authorises, energy flows, the CSMS is told.

The same state machine for every OCPP version; the dialect has the words.

    available --plug--> preparing --authorised--> in transaction --unplug--> available
                            |                         | stop, reset, refused token
                            +---------unplug--------- finishing --unplug--> available
"""

from __future__ import annotations

import math
import random
import time
from collections import deque

from twin.station.battery_car import BatteryCar
from twin.station.clock import iso
from twin.station.dialects import DIALECTS
from twin.station.dialects.base import Connector, Payload, Setting
from twin.station.fleetfile import StationSpec, VisitSpec
from twin.station.link import Link, Message
from twin.station.outlet import Activity, Outlet
from twin.station.plant import Plant
from twin.station.profile_codec import MAX_INSTALLED, Electrics, composite_start, read_profile
from twin.station.profiles import ChargingProfile, Order, ProfileRefused, ProfileStore, Purpose, TransactionView
from twin.station.rail import EvNeeds, SessionFault
from twin.station.reporter import Reporter
from twin.station.session import CarNeeds, EndReason, Sample, Transaction
from twin.station.settings import settings_of
from twin.station.timeline import Event, Timeline

METER_LEAST_WALL_S = 0.1
NEEDS_BURST, NEEDS_WINDOW_S = 4, 8.0
"""The CSMS plans anew for every change of a car's needs: it is told at most so many in so many wall seconds."""
BEFORE_RESTART_S = 0.1  # wall time for the answer to a Reset to leave


class Station:
    """One station with one EVSE (number 1, connector 1).

    meter_interval_s, meter_max_wall_s: see `fleetfile.FleetFile`.
    """

    def __init__(
        self, spec: StationSpec, outlet: Outlet, *, csms_url: str, timeline: Timeline, plant: Plant,
        reporter: Reporter, meter_interval_s: float, meter_max_wall_s: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.spec = spec
        self.outlet = outlet
        self.electrics = Electrics(spec.evse.voltage_v, spec.evse.phases)
        self.meter_interval_s = meter_interval_s
        self._meter_max_wall_s = meter_max_wall_s
        self._timeline, self._plant, self._reporter = timeline, plant, reporter
        self._visit: VisitSpec | None = None
        self._car: BatteryCar | None = None
        self._needs: CarNeeds | None = None
        self._transaction: Transaction | None = None
        self._last_reason: EndReason | None = None
        self._is_operative = True
        self._wants_inoperative = False
        self._wants_reset = False
        self._boot_reason = "PowerUp"
        self._told_status: str | None = None
        self._meter_tick: Event | None = None
        self._transaction_ids: dict[str, str] = {}
        self._needs_posted: deque[float] = deque(maxlen=NEEDS_BURST)
        self._is_needs_waiting = False
        self._needs_look: Event | None = None
        self._seen: list[dict[str, object]] = []
        self.link = Link(
            csms_url, spec.id, spec.password, spec.version, listener=self, handle=self._handle, rng=rng
        )
        self._settings = settings_of(self)
        self.dialect = DIALECTS[spec.version](self)
        outlet.sessions.news = self
        outlet.profiles.go_offline(timeline.now)

    # ------------------------------------------------------------------ cars

    def expect_visits(self) -> None:
        """Put the cars still to come, or to leave, on the timeline; those gone before now are not emulated."""
        for visit in self.spec.visits:
            if visit.departure.timestamp() <= self._timeline.now:
                continue
            self._timeline.at(visit.arrival.timestamp(), lambda _, visit=visit: self._plug(visit))  # type: ignore[misc]
            self._timeline.at(visit.departure.timestamp(), lambda _: self._unplug())

    @property
    def visit_id(self) -> str | None:
        """The visit of the car that stands here."""
        return None if self._visit is None else self._visit.id

    def visits_so_far(self) -> list[dict[str, object]]:
        """Every car seen: what its battery held when it came and when it left (or holds now)."""
        if self._visit is not None:
            now = float(self._plant.fleet.energy_kwh[self.outlet.slot])
            return [*self._seen, self._account(self._visit, now, is_plugged=True)]
        return self._seen

    def _account(self, visit: VisitSpec, energy_kwh: float, *, is_plugged: bool) -> dict[str, object]:
        return {
            "visit_id": visit.id, "station_id": self.spec.id, "energy_on_arrival_kwh": visit.energy_kwh,
            "energy_kwh": energy_kwh, "is_plugged": is_plugged,
            "transaction_id": self._transaction_ids.get(visit.id),
        }

    def _plug(self, visit: VisitSpec) -> None:
        self._visit = visit
        self._car = BatteryCar(
            visit, visit.vehicle.asset(), self.spec.evse, self.outlet.slot, self._plant, self._timeline
        )
        self._last_reason = None
        self.outlet.plug(self._car)
        sample = self.sample()
        self._reporter.report({
            "type": "plugged", "visit_id": visit.id, "station_id": self.spec.id, "at": iso(sample.at),
            "energy_kwh": visit.energy_kwh, "import_wh": sample.import_wh, "export_wh": sample.export_wh,
            "transaction_id": None,
        })
        self._tell_status()
        self._authorise()

    def _unplug(self) -> None:
        visit, transaction = self._visit, self._transaction
        if visit is None:
            return
        if transaction is not None:
            self.end_transaction(EndReason.EV_DISCONNECTED)
        energy = self.outlet.unplug()
        sample = self.sample()
        self._seen.append(self._account(visit, energy, is_plugged=False))
        self._visit = self._car = self._needs = None
        self._reporter.report({
            "type": "unplugged", "visit_id": visit.id, "station_id": self.spec.id, "at": iso(sample.at),
            "energy_kwh": energy, "import_wh": sample.import_wh, "export_wh": sample.export_wh,
            "transaction_id": self._transaction_ids.get(visit.id),
        })
        self._tell_status()

    def _authorise(self) -> None:
        """Ask the CSMS about the driver's token; without a line the driver is let in (LocalAuthorizeOffline)."""
        visit = self._visit
        if visit is None or not self._is_operative or self._transaction is not None:
            return

        def accept() -> None:
            if self._visit is visit and self._transaction is None:
                self._begin_transaction(visit)

        self.link.post(self.dialect.authorize(
            visit.id_token,
            lambda is_accepted: self._timeline.act(accept) if is_accepted else None,
            # A CSMS that answers with an error has not accepted; one that is out of reach cannot be asked.
            lambda fault: self._timeline.act(accept) if fault == "offline" else None,
        ))

    # ------------------------------------------------------------------ transactions

    def _begin_transaction(self, visit: VisitSpec) -> None:
        sample = self.sample()
        transaction = Transaction(visit.id_token, sample.at, sample)
        self._transaction = transaction
        self._transaction_ids[visit.id] = transaction.id
        for message in self.dialect.started(transaction, sample):
            self.link.post(message)
        is_16 = self.spec.version == "ocpp1.6"
        self.outlet.energise(TransactionView(None if is_16 else transaction.id, transaction.started_at))
        self._tell_status()
        self._schedule_meter(sample.at)

    def end_transaction(self, reason: EndReason) -> None:
        """Stop the flow and close the transaction; the car may stay."""
        transaction = self._transaction
        if transaction is None:
            return
        sample = self.sample()
        self.outlet.cut()
        self.outlet.profiles.end_transaction()
        if self._meter_tick is not None:
            self._meter_tick.cancel()
        for message in self.dialect.ended(transaction, sample, reason):
            self.link.post(message)
        self._transaction = None
        self._last_reason = reason
        if self._wants_inoperative:
            self._wants_inoperative, self._is_operative = False, False
        if reason is not EndReason.EV_DISCONNECTED:
            self._tell_status()
        if self._wants_reset:
            self._wants_reset = False
            self._restart()

    def transaction_named(self, transaction: Transaction) -> None:
        """OCPP 1.6: the CSMS gave the transaction its id, possibly long after it ended."""
        def adopt() -> None:
            if self._visit is not None and self._transaction is transaction:
                self.outlet.energise(TransactionView(str(transaction.csms_id), transaction.started_at))

        for visit_id, known in self._transaction_ids.items():
            if known == transaction.id:
                self._transaction_ids[visit_id] = str(transaction.csms_id)
                break
        self._timeline.act(adopt)

    def transaction_judged(self, transaction: Transaction, is_accepted: bool) -> None:
        """The CSMS looked at the token of a transaction that has begun (1.6 StopTransactionOnInvalidId, 2.x E05)."""
        if not is_accepted and self._transaction is transaction:
            self._timeline.act(lambda: self.end_transaction(EndReason.DEAUTHORISED))

    # ------------------------------------------------------------------ the session with the car

    def needs_told(self, needs: EvNeeds) -> None:
        """The car said what it needs; the CSMS hears it if it is news to it."""
        self._needs = CarNeeds(needs, self._timeline.now)
        self._tell_needs()

    def session_charges(self, setup_s: float) -> None:
        if self.spec.rail == "wire" and self._car is not None:
            speech = self._car.speech
            self._report_session("session_charges", language=speech.language.value, transfer=speech.transfer.value,
                                 control=speech.control.value, setup_s=round(setup_s, 4))

    def session_broke(self, fault: SessionFault) -> None:
        self._report_session("session_broke", detail=str(fault))
        self._tell_status()

    def session_mended(self) -> None:
        self._report_session("session_mended")
        self._tell_status()

    def _report_session(self, kind: str, **more: object) -> None:
        self._reporter.report({
            "type": kind, "station_id": self.spec.id, "visit_id": self.visit_id, "at": iso(self._timeline.now), **more,
        })

    @property
    def _speaks_to_its_car(self) -> bool:
        """The EVSE learns the car's needs: over a wire, as the file says, or because it could not discharge without."""
        if self._car is None:
            return False
        return (
            self.spec.rail == "wire" or self._car.visit.speaks is not None
            or self._car.speech.transfer.is_bidirectional
        )

    def _tell_needs(self) -> None:
        transaction, needs = self._transaction, self._needs
        if transaction is None or needs is None or not self.link.is_online or not self._speaks_to_its_car:
            return
        if transaction.told_needs is not None and not needs.differs_from(transaction.told_needs):
            return
        now = time.monotonic()
        if self._is_needs_waiting:
            return  # what is sent is what the car wants when it is sent
        if len(self._needs_posted) == NEEDS_BURST and now < self._needs_posted[0] + NEEDS_WINDOW_S:
            self._look_at_needs_in(self._needs_posted[0] + NEEDS_WINDOW_S - now)
            return
        message = self.dialect.charging_needs(self._take_needs)
        if message is not None:
            message.failed = self._needs_failed
            self._needs_posted.append(now)
            self._is_needs_waiting = True
            self.link.post(message)

    def _take_needs(self) -> CarNeeds | None:
        """The newest, at the moment of sending; they count as told from then on."""
        self._is_needs_waiting = False
        if self._transaction is None or self._needs is None:
            return None
        self._transaction.told_needs = self._needs
        return self._needs

    def _needs_failed(self, why: str) -> None:
        self._is_needs_waiting = False
        if why == "offline" and self._transaction is not None:
            self._transaction.told_needs = None  # the CSMS is told when it is back

    def _look_at_needs_in(self, wall_s: float) -> None:
        if self._needs_look is None:
            at = self._timeline.now
            self._needs_look = self._timeline.at(at + wall_s * self._timeline.clock.factor(at), self._look_at_needs)

    def _look_at_needs(self, _: float) -> None:
        self._needs_look = None
        self._tell_needs()

    # ------------------------------------------------------------------ meter and state

    def sample(self) -> Sample:
        """The meter now. Registers are whole Wh rounded from the exact energy, so they never fall."""
        fleet, slot = self._plant.fleet, self.outlet.slot
        soc = None
        if self._visit is not None and self._visit.reports_soc:
            soc = float(fleet.soc[slot])
        return Sample(
            self._timeline.now,
            float(fleet.power_kw[slot]),
            round(self.spec.import_wh + float(fleet.import_kwh[slot]) * 1000.0),
            round(self.spec.export_wh + float(fleet.export_kwh[slot]) * 1000.0),
            soc,
        )

    def _schedule_meter(self, at: float) -> None:
        following = self._timeline.clock.next_tick(
            at, self.meter_interval_s, METER_LEAST_WALL_S, self._meter_max_wall_s
        ) if self.meter_interval_s > 0 else math.inf
        if math.isfinite(following):
            self._meter_tick = self._timeline.at(following, self._tell_meter)

    def change_meter_interval(self, seconds: float) -> None:
        """The CSMS wants meter values at another rate; 0 stops them."""
        self.meter_interval_s = seconds
        if self._meter_tick is not None:
            self._meter_tick.cancel()
        if self._transaction is not None:
            self._schedule_meter(self._timeline.now)

    def _tell_meter(self, at: float) -> None:
        if self._transaction is not None:
            self.link.post(self.dialect.sampled(self._transaction, self.sample(), "Sample.Periodic"))
            self._schedule_meter(at)

    def settle(self, power_kw: float) -> None:
        """After the events of an instant: tell if what happens at the connector changed."""
        transaction = self._transaction
        if transaction is None:
            return
        self.outlet.sessions.look()
        activity = self.outlet.activity(power_kw)
        if activity is transaction.told_activity:
            return
        transaction.told_activity = activity
        for message in self.dialect.activity_changed(transaction, self.sample(), activity):
            self.link.post(message)
        self._tell_status()

    @property
    def connector(self) -> Connector:
        if self.outlet.sessions.fault is not None:
            return Connector.FAULTED
        if self._transaction is not None:
            return Connector.IN_TRANSACTION
        if not self._is_operative:
            return Connector.UNAVAILABLE
        if self._visit is None:
            return Connector.AVAILABLE
        return Connector.PREPARING if self._last_reason is None else Connector.FINISHING

    def _tell_status(self) -> None:
        activity = Activity.CONNECTED if self._transaction is None else self._transaction.told_activity
        word = self.dialect.status_word(self.connector, activity)
        if word != self._told_status and self.link.is_online:
            self._told_status = word
            self.link.post(self.dialect.status(word, self._timeline.now))

    # ------------------------------------------------------------------ the line

    def boot_request(self) -> Payload:
        return self.dialect.boot_request(self._boot_reason)

    def came_online(self, interval_s: float) -> None:  # noqa: ARG002 - the link keeps it
        self._boot_reason = "Unknown"  # every later boot message follows a loss of the line, not of power
        self._timeline.act(self._greet)

    def _greet(self) -> None:
        self.outlet.profiles.go_online(self._timeline.now)
        self.outlet.refresh()
        self._reporter.report({"type": "station_online", "station_id": self.spec.id, "at": iso(self._timeline.now)})
        self._told_status = None
        self._tell_status()
        self._tell_needs()
        if self._last_reason is EndReason.RESET:
            self._last_reason = None
            self._authorise()  # the driver's card is still there

    def went_offline(self) -> None:
        def begin_alone() -> None:
            self.outlet.profiles.go_offline(self._timeline.now)
            self.outlet.refresh()
            self._reporter.report(
                {"type": "station_offline", "station_id": self.spec.id, "at": iso(self._timeline.now)}
            )

        self._timeline.act(begin_alone)

    async def _handle(self, action: str, payload: Payload) -> Payload:
        return self._timeline.act(lambda: self.dialect.handle(action, payload))

    # ------------------------------------------------------------------ what the CSMS may move (StationControl)

    @property
    def now(self) -> float:
        return self._timeline.now

    @property
    def profiles(self) -> ProfileStore:
        return self.outlet.profiles

    @property
    def transaction(self) -> Transaction | None:
        return self._transaction

    @property
    def is_link_up(self) -> bool:
        return self.link.is_online

    @property
    def is_following_setpoint(self) -> bool:
        return self.outlet.order.is_setpoint

    @property
    def waiting_messages(self) -> int:
        return self.link.waiting

    @property
    def settings(self) -> dict[str, Setting]:
        return self._settings

    def post(self, message: Message) -> None:
        self.link.post(message)

    def install_profile(self, raw: Payload, evse_id: int, duplicate_level: str) -> None:
        """Hold a profile and obey it at once. Raises `ProfileRefused`."""
        try:
            profile = read_profile(
                raw, version=self.spec.version, evse_id=evse_id, electrics=self.electrics,
                rating=self.outlet.profiles.rating, now=self._timeline.now, transaction=self.outlet.transaction,
            )
        except ProfileRefused:
            raise
        except ValueError as fault:  # a time that is none
            raise ProfileRefused("InvalidSchedule", str(fault)) from None
        if len(self.outlet.profiles.profiles) >= MAX_INSTALLED:
            known = {held.id for held in self.outlet.profiles.profiles}
            if profile.id not in known:
                raise ProfileRefused("TooManyProfiles", f"{MAX_INSTALLED} profiles are installed")
        self.outlet.profiles.put(profile, duplicate_level=duplicate_level)
        self.outlet.refresh()

    def clear_profiles(
        self, *, profile_id: int | None, purpose: Purpose | None, stack_level: int | None
    ) -> list[ChargingProfile]:
        gone = self.outlet.profiles.clear(profile_id=profile_id, purpose=purpose, stack_level=stack_level)
        self.outlet.refresh()
        return gone

    def composite(self, duration_s: float) -> tuple[float, list[tuple[float, Order]]]:
        """From this second on: its start and the merged orders (without a car: as if one charged from now on)."""
        at = self._timeline.now
        start = composite_start(at)
        return start, self.outlet.profiles.composite(at, start + duration_s, self.outlet.transaction)

    def trigger_boot(self) -> None:
        if not self.link.is_online:
            self.link.boot_now()
            return
        self.link.post(Message("BootNotification", lambda: self.dialect.boot_request("Triggered")))

    def trigger_status(self) -> None:
        self._told_status = None
        self._tell_status()

    def set_operative(self, is_operative: bool) -> bool:
        if not is_operative and self._transaction is not None:
            self._wants_inoperative = True
            return False
        self._wants_inoperative = False
        self._is_operative = is_operative
        self._tell_status()
        if is_operative:
            self._authorise()
        return True

    def reset(self, *, when_idle: bool) -> bool:
        if when_idle and self._transaction is not None:
            self._wants_reset = True
            return False
        self.end_transaction(EndReason.RESET)
        self._restart()
        return True

    def _restart(self) -> None:
        self._boot_reason = "RemoteReset"
        self.link.restart_soon(BEFORE_RESTART_S)
