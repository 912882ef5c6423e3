"""The tables. A change here needs a migration; a test compares the two.

Plain `sa.JSON` and integer microseconds on purpose: both read the same on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import sqlalchemy as sa

from aggregator.store.columns import UtcTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=nullable, primary_key=primary_key)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, UtcTime, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False)


stations = sa.Table(
    "stations", metadata,
    _text("id", primary_key=True), _text("version"), _text("vendor"), _text("model"), _text("firmware", nullable=True),
    sa.Column("is_online", sa.Boolean, nullable=False), sa.Column("epoch", sa.Integer, nullable=False),
    _time("booted_at", nullable=True), _time("last_seen_at", nullable=True),
)

sessions = sa.Table(
    "sessions", metadata,
    # OCPP promises a transaction id that is unique within a station, not across stations.
    _text("evse_id", primary_key=True), _text("transaction_id", primary_key=True),
    _text("id_token"), _time("started_at"), _number("import_wh_start"), _number("export_wh_start"),
    _time("last_at", nullable=True), _number("import_wh", nullable=True), _number("export_wh", nullable=True),
    _number("soc_start", nullable=True), _time("soc_start_at", nullable=True),
    _number("soc", nullable=True), _time("soc_at", nullable=True), _number("battery_kwh_delta"),
    _time("ended_at", nullable=True), _text("end_reason", nullable=True), _text("vehicle_model", nullable=True),
    sa.Column("car_needs", sa.JSON(none_as_null=True), nullable=True),
    sa.Index(None, "evse_id", "id_token", "started_at"), sa.Index(None, "ended_at"), sa.Index(None, "started_at"),
)

targets = sa.Table(
    "targets", metadata,
    sa.Column("id", sa.Integer, primary_key=True), _text("id_token"), sa.Column("revision", sa.Integer, nullable=False),
    _time("departure"), _number("requested_kwh"), _text("vehicle_model"),
    sa.Column("v2g_consent", sa.Boolean, nullable=False), _number("floor_soc"),
    _time("declared_at", nullable=True), _text("declared_by"), _text("evse_id", nullable=True),
    sa.UniqueConstraint("id_token", "revision"),
)

signals = sa.Table(
    "signals", metadata,
    _text("id", primary_key=True), _text("source"), _text("external_id"),
    sa.Column("revision", sa.Integer, nullable=False), _text("content_hash"), _time("received_at"), _text("programme"),
    _text("obligation"), _text("site_id"), _json("intervals"), sa.Column("priority", sa.Integer, nullable=False),
    _time("ends_at"), _text("state"),
    sa.UniqueConstraint("source", "external_id", "revision"), sa.Index(None, "ends_at"),
)

signal_transitions = sa.Table(
    "signal_transitions", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("signal_id", sa.String, sa.ForeignKey("signals.id"), nullable=False, index=True),
    _text("state"), _time("at"), _text("detail"),
)

signal_decisions = sa.Table(
    "signal_decisions", metadata,
    sa.Column("signal_id", sa.String, sa.ForeignKey("signals.id"), primary_key=True),
    _text("state"), _number("requested_kw"), _number("committed_kw"), _number("baseline_kw"), _json("committed_net_kw"),
    _json("reasons"), _time("decided_at"), _text("plan_id", nullable=True),
)

openadr_objects = sa.Table(
    "openadr_objects", metadata,
    _text("kind", primary_key=True), _text("id", primary_key=True), _json("body"), _time("created"), _time("modified"),
    _text("owner"),
)

plans = sa.Table(
    "plans", metadata,
    sa.Column("seq", sa.Integer, primary_key=True), sa.Column("id", sa.String, nullable=False, unique=True),
    _time("created_at"), _text("trigger"), _text("status"), sa.Column("passed", sa.Boolean, nullable=False),
    _number("objective", nullable=True), _number("bound", nullable=True), _number("gap", nullable=True),
    _json("costs"), _json("seconds"), _json("binding"), _json("rounds"), _time("grid_start"),
    sa.Column("step_s", sa.Integer, nullable=False), _json("evse_ids"), _json("power_kw"), _json("net_kw"),
    _json("base_kw"), _json("import_cap_kw"), _text("note"),
)

desired = sa.Table(
    "desired", metadata,
    _text("evse_id", primary_key=True), _text("purpose", primary_key=True),
    sa.Column("version", sa.Integer, nullable=False), _json("payload"), _text("content_hash"),
    _time("valid_to", nullable=True), _text("state"), _text("detail"),
    sa.Column("attempts", sa.Integer, nullable=False), _text("plan_id", nullable=True), _time("updated_at"),
    _number("sent_wall", nullable=True), _number("answered_wall", nullable=True),
    sa.Index(None, "state"),
)

idempotency = sa.Table(
    "idempotency", metadata,
    _text("principal", primary_key=True), _text("key", primary_key=True), _text("body_hash"),
    sa.Column("status", sa.Integer, nullable=False), _json("response"),
)

clients = sa.Table(
    "clients", metadata,
    _text("client_id", primary_key=True), _text("role"), _json("scopes"), _text("secret_sha256"), _text("party"),
    sa.Column("is_enabled", sa.Boolean, nullable=False),
)

alerts = sa.Table(
    "alerts", metadata,
    _text("id", primary_key=True), _text("kind"), _text("subject"), _text("severity"), _text("message"),
    _time("raised_at"), _json("detail"), _time("cleared_at", nullable=True),
    # One open alert per kind and subject: the condition repeats, the alert does not.
    sa.Index(
        "uq_alerts_open", "kind", "subject", unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"), postgresql_where=sa.text("cleared_at IS NULL"),
    ),
)

audit = sa.Table(
    "audit", metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False), _time("at"), _time("recorded_at"),
    _text("actor"), _text("action"), _text("subject"), _json("detail"), _text("prev_hash"), _text("hash"),
)

audit_head = sa.Table(
    "audit_head", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False), _text("hash"),
)

# Clustered on (charger, time): one charger's day is one range scan. ts_us is bare on purpose: bulk rows skip
# the conversion to datetime both ways.
meter_values = sa.Table(
    "meter_values", metadata,
    _text("evse_id", primary_key=True), sa.Column("ts_us", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("transaction_id", nullable=True), _number("power_kw", nullable=True), _number("import_wh", nullable=True),
    _number("export_wh", nullable=True), _number("soc", nullable=True),
    sqlite_with_rowid=False,
)

site_readings = sa.Table(
    "site_readings", metadata,
    _text("site_id", primary_key=True), sa.Column("ts_us", sa.BigInteger, primary_key=True, autoincrement=False),
    _number("import_kw"), _number("ev_kw", nullable=True),
    sqlite_with_rowid=False,
)

message_counts = sa.Table(
    "message_counts", metadata,
    _text("protocol", primary_key=True), _text("action", primary_key=True), _text("direction", primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
