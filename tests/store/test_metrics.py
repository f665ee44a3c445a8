"""`/metrics`: the names and forms that dashboards for etcd rely on."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.exposition_reader import ReadFamily, read_exposition

from sampan.base.histogram import Histogram, exponential
from sampan.store.api.metrics import (
    FSYNC_BOUNDS_S,
    Figures,
    HealthCounts,
    exposition,
)
from sampan.store.api.metrics_process import process_families
from sampan.wire.exposition import counter, gauge, histogram, render
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall, UnaryMethod


def unary(call: UnaryCall, body: bytes) -> None: ...


def stream(call: StreamCall) -> Awaitable[None]:
    raise NotImplementedError


UNESCAPED = {"\\": "\\", "n": "\n", '"': '"'}

TABLE: MethodTable = {
    "/etcdserverpb.KV/Put": UnaryMethod(unary),
    "/etcdserverpb.Watch/Watch": StreamMethod(stream),
    "/etcdserverpb.Maintenance/Snapshot": StreamMethod(stream, client_streaming=False),
}


def figures(**more: Any) -> Figures:
    given: dict[str, Any] = {
        "server_id": 0xCDF818194E3A8C32,
        "server_version": "3.6.5",
        "cluster_version": "3.6.0",
        "has_leader": True,
        "is_leader": True,
        "leader_changes_seen": 1,
        "proposals_committed": 12,
        "proposals_applied": 11,
        "proposals_pending": 1,
        "quota_backend_bytes": 2147483648,
        "db_size_bytes": 20480,
        "db_size_in_use_bytes": 16384,
        "current_revision": 7,
        "compact_revision": 3,
        "keys": 2,
    }
    return Figures(**(given | more))


def scrape(**more: Any) -> dict[str, ReadFamily]:
    text = exposition(figures(**more), TABLE, HealthCounts(), process_families()).decode()
    return read_exposition(text)


def scrape_everything() -> dict[str, ReadFamily]:
    """Every metric there can be: every figure known, every kind of series present."""
    handled = SimpleNamespace(started=1, handled=[1], msg_received=1, msg_sent=1)
    counts = HealthCounts()
    counts.results["livez", "x"] = counts.checks["livez", "x", "success"] = 1
    known = figures(
        proposals_failed=0,
        slow_apply=0,
        slow_read_indexes=0,
        read_indexes_failed=0,
        put_size_bytes=0,
        compacted_keys=0,
        pending_events=0,
        lease_ttl=Histogram((1.0,)),
        wal_written_bytes=0,
        defrag_inflight=False,
        methods={"/etcdserverpb.KV/Put": handled},
    )
    return read_exposition(exposition(known, TABLE, counts, process_families()).decode())


def value(families: dict[str, ReadFamily], name: str, labels: str = "") -> float:
    return families[name].samples[name, labels]


NAMES = """
etcd_cluster_version etcd_server_version etcd_server_id
etcd_server_has_leader etcd_server_is_leader etcd_server_is_learner
etcd_server_leader_changes_seen_total etcd_server_proposals_committed_total
etcd_server_proposals_applied_total etcd_server_proposals_pending
etcd_server_proposals_failed_total etcd_server_quota_backend_bytes
etcd_server_slow_apply_total etcd_server_slow_read_indexes_total
etcd_server_read_indexes_failed_total etcd_server_health_success etcd_server_health_failures
etcd_server_healthcheck etcd_server_healthchecks_total
etcd_mvcc_db_total_size_in_bytes etcd_mvcc_db_total_size_in_use_in_bytes
etcd_mvcc_put_total etcd_mvcc_delete_total etcd_mvcc_range_total etcd_mvcc_txn_total
etcd_debugging_mvcc_keys_total etcd_debugging_mvcc_put_total etcd_debugging_mvcc_events_total
etcd_debugging_mvcc_watch_stream_total etcd_debugging_mvcc_watcher_total
etcd_debugging_mvcc_slow_watcher_total etcd_debugging_mvcc_pending_events_total
etcd_debugging_mvcc_current_revision etcd_debugging_mvcc_compact_revision
etcd_debugging_lease_granted_total etcd_debugging_lease_renewed_total
etcd_debugging_lease_revoked_total etcd_debugging_lease_ttl_total
etcd_disk_wal_fsync_duration_seconds etcd_disk_backend_commit_duration_seconds
etcd_network_client_grpc_received_bytes_total etcd_network_client_grpc_sent_bytes_total
grpc_server_started_total grpc_server_handled_total grpc_server_msg_received_total
grpc_server_msg_sent_total
process_cpu_seconds_total process_resident_memory_bytes process_open_fds process_max_fds
process_start_time_seconds process_virtual_memory_bytes os_fd_used os_fd_limit
""".split()


def test_every_name_is_there_and_the_text_is_well_formed() -> None:
    families = scrape_everything()
    assert set(NAMES) - set(families) == set()
    assert all(family.help for family in families.values())
    assert all(
        family.type == "counter"
        for name, family in families.items()
        if name.startswith("grpc_server")
    )


def test_what_is_not_counted_is_left_out() -> None:
    assert set(scrape_everything()) - set(scrape()) == {
        "etcd_debugging_lease_ttl_total",
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "etcd_debugging_mvcc_pending_events_total",
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "etcd_disk_defrag_inflight",
        "etcd_disk_wal_write_bytes_total",
        "etcd_server_healthcheck",
        "etcd_server_healthchecks_total",
        "etcd_server_proposals_failed_total",
        "etcd_server_read_indexes_failed_total",
        "etcd_server_slow_apply_total",
        "etcd_server_slow_read_indexes_total",
        "grpc_server_handled_total",
    }


def test_figures_are_shown() -> None:
    families = scrape(puts=5)
    assert value(families, "etcd_server_has_leader") == 1
    assert value(families, "etcd_server_proposals_pending") == 1
    assert value(families, "etcd_mvcc_db_total_size_in_bytes") == 20480
    assert value(families, "etcd_mvcc_put_total") == 5
    assert value(families, "etcd_debugging_mvcc_put_total") == 5
    assert value(families, "etcd_cluster_version", 'cluster_version="3.6"') == 1
    assert value(families, "etcd_server_version", 'server_version="3.6.5"') == 1
    assert value(families, "etcd_server_id", 'server_id="cdf818194e3a8c32"') == 1


def test_the_process_is_measured() -> None:
    families = scrape()
    assert value(families, "process_resident_memory_bytes") > 1_000_000
    assert value(families, "process_open_fds") >= 3
    assert value(families, "process_start_time_seconds") > 1_700_000_000


def test_grpc_calls_by_method_shape_and_status() -> None:
    handled = [0] * 17
    handled[0], handled[5] = 3, 1
    put = SimpleNamespace(started=5, handled=handled, msg_received=5, msg_sent=3)
    families = scrape(methods={"/etcdserverpb.KV/Put": put})
    labels = 'grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"'
    assert value(families, "grpc_server_started_total", labels) == 5
    assert families["grpc_server_handled_total"].samples == {
        ("grpc_server_handled_total", f'grpc_code="OK",{labels}'): 3,
        ("grpc_server_handled_total", f'grpc_code="NotFound",{labels}'): 1,
    }
    started = families["grpc_server_started_total"].samples
    shapes = {key[1].rpartition("grpc_type=")[2] for key in started}
    assert shapes == {'"unary"', '"bidi_stream"', '"server_stream"'}


def test_a_histogram() -> None:
    fsync = Histogram(FSYNC_BOUNDS_S)
    for seconds in (0.0005, 0.001, 0.0015, 100.0):
        fsync.observe(seconds)
    samples = scrape(wal_fsync=fsync)["etcd_disk_wal_fsync_duration_seconds"].samples
    name = "etcd_disk_wal_fsync_duration_seconds"
    assert samples[name + "_bucket", 'le="0.001"'] == 2
    assert samples[name + "_bucket", 'le="0.002"'] == 3
    assert samples[name + "_bucket", 'le="8.192"'] == 3
    assert samples[name + "_bucket", 'le="+Inf"'] == 4
    assert samples[name + "_count", ""] == 4
    assert samples[name + "_sum", ""] == pytest.approx(100.003)


def test_bounds_grow_by_a_factor() -> None:
    assert exponential(0.001, 2, 4) == (0.001, 0.002, 0.004, 0.008)


def test_health_checks_are_counted() -> None:
    counts = HealthCounts(success=2, failures=1)
    counts.results["livez", "serializable_read"] = 1
    counts.checks["livez", "serializable_read", "success"] = 4
    families = read_exposition(exposition(figures(), TABLE, counts, iter(())).decode())
    labels = 'type="livez",name="serializable_read"'
    assert value(families, "etcd_server_health_success") == 2
    assert value(families, "etcd_server_healthcheck", labels) == 1
    assert value(families, "etcd_server_healthchecks_total", labels + ',status="success"') == 4


@given(st.text(), st.text())
def test_any_text_can_be_a_label_or_a_help(label: str, help_text: str) -> None:
    text = render([gauge("x", help_text, [({"a": label}, 1)])]).decode("utf-8")
    lines = text.split("\n")
    assert len(lines) == 4
    written = lines[2].removeprefix('x{a="').removesuffix('"} 1')
    assert re.sub(r"\\(.)", lambda match: UNESCAPED[match[1]], written) == label


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1"), (True, "1"), (0.5, "0.5"), (3.0, "3"), (1e300, "1e+300")]
)
def test_numbers(number: float, text: str) -> None:
    assert render([counter("x", "y", number)]).endswith(f"x {text}\n".encode())


def test_an_empty_histogram_is_valid() -> None:
    text = render([histogram("x", "y", Histogram((1.0,)))]).decode()
    assert read_exposition(text)["x"].samples["x_count", ""] == 0
