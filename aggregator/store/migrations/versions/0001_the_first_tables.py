"""The first tables.

Revision 0001, the start of the line. Column types are spelled out, so that a later change of the program's own
types cannot change what this migration did.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Append-only by the database itself: not even this program can edit or remove an entry, and the head only moves on.
_GUARDS = {
    "audit_is_never_edited":
        "BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "audit_is_never_deleted":
        "BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "audit_head_only_moves_on":
        "BEFORE UPDATE ON audit_head WHEN NEW.seq <= OLD.seq OR NEW.id <> OLD.id "
        "BEGIN SELECT RAISE(ABORT, 'the audit head only moves on'); END",
    "audit_head_is_never_deleted":
        "BEFORE DELETE ON audit_head BEGIN SELECT RAISE(ABORT, 'the audit head only moves on'); END",
}


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("raised_at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("cleared_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_open", "alerts", ["kind", "subject"], unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"), postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("prev_hash", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "clients",
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("party", sa.String(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_clients")),
    )
    op.create_table(
        "desired",
        sa.Column("evse_id", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("plan_id", sa.String(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_wall", sa.Double(), nullable=True),
        sa.Column("answered_wall", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("evse_id", "purpose", name=op.f("pk_desired")),
    )
    op.create_index(op.f("ix_desired_state"), "desired", ["state"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_hash", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("response", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "message_counts",
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("protocol", "action", "direction", name=op.f("pk_message_counts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "meter_values",
        sa.Column("evse_id", sa.String(), nullable=False),
        sa.Column("ts_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("transaction_id", sa.String(), nullable=True),
        sa.Column("power_kw", sa.Double(), nullable=True),
        sa.Column("import_wh", sa.Double(), nullable=True),
        sa.Column("export_wh", sa.Double(), nullable=True),
        sa.Column("soc", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("evse_id", "ts_us", name=op.f("pk_meter_values")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "openadr_objects",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_openadr_objects")),
    )
    op.create_table(
        "plans",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("objective", sa.Double(), nullable=True),
        sa.Column("bound", sa.Double(), nullable=True),
        sa.Column("gap", sa.Double(), nullable=True),
        sa.Column("costs", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.JSON(), nullable=False),
        sa.Column("binding", sa.JSON(), nullable=False),
        sa.Column("rounds", sa.JSON(), nullable=False),
        sa.Column("grid_start", sa.BigInteger(), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("evse_ids", sa.JSON(), nullable=False),
        sa.Column("power_kw", sa.JSON(), nullable=False),
        sa.Column("net_kw", sa.JSON(), nullable=False),
        sa.Column("base_kw", sa.JSON(), nullable=False),
        sa.Column("import_cap_kw", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_plans")),
        sa.UniqueConstraint("id", name=op.f("uq_plans_id")),
    )
    op.create_table(
        "sessions",
        sa.Column("evse_id", sa.String(), nullable=False),
        sa.Column("transaction_id", sa.String(), nullable=False),
        sa.Column("id_token", sa.String(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("import_wh_start", sa.Double(), nullable=False),
        sa.Column("export_wh_start", sa.Double(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("import_wh", sa.Double(), nullable=True),
        sa.Column("export_wh", sa.Double(), nullable=True),
        sa.Column("soc_start", sa.Double(), nullable=True),
        sa.Column("soc_start_at", sa.BigInteger(), nullable=True),
        sa.Column("soc", sa.Double(), nullable=True),
        sa.Column("soc_at", sa.BigInteger(), nullable=True),
        sa.Column("battery_kwh_delta", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(), nullable=True),
        sa.Column("vehicle_model", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("evse_id", "transaction_id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_ended_at"), "sessions", ["ended_at"], unique=False)
    op.create_index(
        op.f("ix_sessions_evse_id_id_token_started_at"), "sessions", ["evse_id", "id_token", "started_at"],
        unique=False,
    )
    op.create_index(op.f("ix_sessions_started_at"), "sessions", ["started_at"], unique=False)
    op.create_table(
        "signals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("programme", sa.String(), nullable=False),
        sa.Column("obligation", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("intervals", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signals")),
        sa.UniqueConstraint("source", "external_id", "revision", name=op.f("uq_signals_source_external_id_revision")),
    )
    op.create_index(op.f("ix_signals_ends_at"), "signals", ["ends_at"], unique=False)
    op.create_table(
        "site_readings",
        sa.Column("site_id", sa.String(), nullable=False),
        sa.Column("ts_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("import_kw", sa.Double(), nullable=False),
        sa.Column("ev_kw", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("site_id", "ts_us", name=op.f("pk_site_readings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("vendor", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("firmware", sa.String(), nullable=True),
        sa.Column("is_online", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("booted_at", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stations")),
    )
    op.create_table(
        "targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("id_token", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("departure", sa.BigInteger(), nullable=False),
        sa.Column("requested_kwh", sa.Double(), nullable=False),
        sa.Column("vehicle_model", sa.String(), nullable=False),
        sa.Column("v2g_consent", sa.Boolean(), nullable=False),
        sa.Column("floor_soc", sa.Double(), nullable=False),
        sa.Column("declared_at", sa.BigInteger(), nullable=True),
        sa.Column("declared_by", sa.String(), nullable=False),
        sa.Column("evse_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_targets")),
        sa.UniqueConstraint("id_token", "revision", name=op.f("uq_targets_id_token_revision")),
    )
    op.create_table(
        "signal_decisions",
        sa.Column("signal_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("requested_kw", sa.Double(), nullable=False),
        sa.Column("committed_kw", sa.Double(), nullable=False),
        sa.Column("baseline_kw", sa.Double(), nullable=False),
        sa.Column("committed_net_kw", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["signal_id"], ["signals.id"], name=op.f("fk_signal_decisions_signal_id_signals")),
        sa.PrimaryKeyConstraint("signal_id", name=op.f("pk_signal_decisions")),
    )
    op.create_table(
        "signal_transitions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("signal_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["signal_id"], ["signals.id"], name=op.f("fk_signal_transitions_signal_id_signals")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signal_transitions")),
    )
    op.create_index(op.f("ix_signal_transitions_signal_id"), "signal_transitions", ["signal_id"], unique=False)

    op.execute(f"INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '{'0' * 64}')")  # noqa: S608  no input in it
    for name, body in _GUARDS.items():
        op.execute(f"CREATE TRIGGER {name} {body}")


def downgrade() -> None:
    for name in _GUARDS:
        op.execute(f"DROP TRIGGER {name}")
    op.drop_index(op.f("ix_signal_transitions_signal_id"), table_name="signal_transitions")
    op.drop_table("signal_transitions")
    op.drop_table("signal_decisions")
    op.drop_table("targets")
    op.drop_table("stations")
    op.drop_table("site_readings")
    op.drop_index(op.f("ix_signals_ends_at"), table_name="signals")
    op.drop_table("signals")
    op.drop_index(op.f("ix_sessions_started_at"), table_name="sessions")
    op.drop_index(op.f("ix_sessions_evse_id_id_token_started_at"), table_name="sessions")
    op.drop_index(op.f("ix_sessions_ended_at"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("plans")
    op.drop_table("openadr_objects")
    op.drop_table("meter_values")
    op.drop_table("message_counts")
    op.drop_table("idempotency")
    op.drop_index(op.f("ix_desired_state"), table_name="desired")
    op.drop_table("desired")
    op.drop_table("clients")
    op.drop_table("audit_head")
    op.drop_table("audit")
    op.drop_index("uq_alerts_open", table_name="alerts",
        sqlite_where=sa.text("cleared_at IS NULL"), postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.drop_table("alerts")
