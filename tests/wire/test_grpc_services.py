"""Health and reflection, asked by grpcio and by grpcurl."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from types import ModuleType

import grpc
import pytest
from tests import real
from tests.wire.echo_service import EchoServer, serve

from sampan.wire.grpc.pb import health_pb2 as pb
from sampan.wire.grpc.pb import reflection_v1_pb2, reflection_v1alpha_pb2

pytestmark = pytest.mark.real
WAIT_S = 20
SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with serve() as running:
        yield running


@pytest.fixture
def channel(server: EchoServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def set_serving(server: EchoServer, service: str, serving: bool) -> None:
    server.call(lambda: server.health.set_serving(service, serving))


def check(channel: grpc.Channel, service: str) -> int:
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        pb.HealthCheckRequest.SerializeToString,
        pb.HealthCheckResponse.FromString,
    )
    return int(call(pb.HealthCheckRequest(service=service), timeout=WAIT_S).status)


def test_check_follows_the_status(server: EchoServer, channel: grpc.Channel) -> None:
    assert check(channel, "") == NOT_SERVING
    server.call(server.health.set_all_serving)
    assert check(channel, "") == SERVING
    server.call(server.health.shut_down)
    assert check(channel, "") == NOT_SERVING


def test_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_list_tells_all(server: EchoServer, channel: grpc.Channel) -> None:
    set_serving(server, "a", True)
    answer = channel.unary_unary(
        "/grpc.health.v1.Health/List", None, pb.HealthListResponse.FromString
    )(b"", timeout=WAIT_S)
    assert {name: s.status for name, s in answer.statuses.items()} == {
        "": NOT_SERVING,
        "a": SERVING,
    }


def test_watch_reports_changes_only(server: EchoServer, channel: grpc.Channel) -> None:
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        pb.HealthCheckRequest.SerializeToString,
        pb.HealthCheckResponse.FromString,
    )(pb.HealthCheckRequest(service="a"), timeout=WAIT_S)
    assert next(watch).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
    set_serving(server, "other", True)
    set_serving(server, "a", True)
    assert next(watch).status == SERVING
    set_serving(server, "a", False)
    assert next(watch).status == NOT_SERVING
    watch.cancel()


@pytest.mark.parametrize(
    ("version", "messages"), [("v1", reflection_v1_pb2), ("v1alpha", reflection_v1alpha_pb2)]
)
def test_reflection_answers_every_question(
    channel: grpc.Channel, version: str, messages: ModuleType
) -> None:
    request = messages.ServerReflectionRequest
    questions = [
        request(list_services=""),
        request(file_containing_symbol="grpc.health.v1.Health"),
        request(file_by_filename="sampan/wire/grpc/pb/health.proto"),
        request(file_containing_symbol="no.Such"),
        request(all_extension_numbers_of_type="grpc.health.v1.HealthCheckRequest"),
        request(),
    ]
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request.SerializeToString,
        messages.ServerReflectionResponse.FromString,
    )
    answers = list(call(iter(questions), timeout=WAIT_S))
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        "list_services_response",
        "file_descriptor_response",
        "file_descriptor_response",
        "error_response",
        "all_extension_numbers_response",
        "error_response",
    ]
    assert "grpc.health.v1.Health" in [s.name for s in answers[0].list_services_response.service]
    assert answers[3].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def grpcurl(server: EchoServer, *arguments: str) -> str:
    tool = real.require("grpcurl")
    command = [str(tool), "-plaintext", *arguments[:-1], server.address, arguments[-1]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcurl_lists_and_describes(server: EchoServer) -> None:
    assert "grpc.health.v1.Health" in grpcurl(server, "list").split()
    tool = real.require("grpcurl")
    command = [str(tool), "-plaintext", server.address, "describe", "grpc.health.v1.Health"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    assert "rpc Check ( .grpc.health.v1.HealthCheckRequest )" in done.stdout


def test_grpcurl_calls_by_reflection(server: EchoServer) -> None:
    assert "NOT_SERVING" in grpcurl(server, "grpc.health.v1.Health/Check")
