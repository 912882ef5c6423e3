from prometheus_client.parser import text_string_to_metric_families

from aggregator.operations import Metrics


def test_the_exposition_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.ocpp_messages.labels("ocpp1.6", "Heartbeat", "up").inc(3)
    metrics.site_power_kw.labels("caltech").set(-12.5)
    metrics.plan_seconds.observe(0.4)
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    (sample,) = [s for s in families["v2g_ocpp_messages"].samples if s.name.endswith("_total")]
    assert (sample.labels, sample.value) == ({"protocol": "ocpp1.6", "action": "Heartbeat", "direction": "up"}, 3.0)
    assert families["v2g_site_power_kw"].samples[0].value == -12.5
    below = {s.labels["le"]: s.value for s in families["v2g_plan_seconds"].samples if s.name.endswith("_bucket")}
    assert (below["0.3"], below["0.5"]) == (0.0, 1.0)


def test_no_metric_is_labelled_by_charger_driver_or_session() -> None:
    for collector in vars(Metrics()).values():
        for label in getattr(collector, "_labelnames", ()):
            assert label not in {"evse", "evse_id", "station", "station_id", "charger", "id_token", "driver", "session"}


def test_two_services_in_one_process_do_not_add_up() -> None:
    one, other = Metrics(), Metrics()
    one.sessions_open.inc()
    assert one.sessions_open._value.get() == 1
    assert other.sessions_open._value.get() == 0
