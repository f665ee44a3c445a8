"""CRI's clients against a running daemon: the real crictl, and any call by grpcio."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from tests.engine_server import EngineServer
from tests.real import require

from sampan.engine.cri.pb import service_pb2
from sampan.engine.cri.pb.container_pb2 import ContainerConfig
from sampan.engine.cri.pb.sandbox_pb2 import PodSandboxConfig

__all__ = ["CriClient"]


@dataclass(slots=True)
class CriClient:
    """Speaks to one daemon started with `--cri-socket`."""

    engine: EngineServer
    place: Path
    pods_made: int = 0
    _channel: Any = field(default=None)

    @property
    def socket(self) -> Path:
        """The socket of CRI."""
        return self.engine.place / "cri.sock"

    @property
    def cgroup(self) -> str:
        """Where the cgroups of its pods are: another run has others."""
        return f"/sampan-test-{os.getpid()}-{self.place.name}"

    # Any call.

    def _method(self, rpc: str) -> tuple[Any, Any]:
        """The method's descriptor, and the channel."""
        for service in service_pb2.DESCRIPTOR.services_by_name.values():
            if rpc in service.methods_by_name:
                if self._channel is None:
                    self._channel = grpc.insecure_channel(
                        f"unix:{self.socket}", [("grpc.max_receive_message_length", 16 << 20)]
                    )
                return service.methods_by_name[rpc], self._channel
        raise AssertionError(f"CRI has no {rpc}")

    def call(self, rpc: str, request: Any = None, /, timeout_s: float = 30, **fields: Any) -> Any:
        """Call and return the response; grpc.RpcError for an error."""
        method, channel = self._method(rpc)
        kind = GetMessageClass(method.input_type)
        path = f"/{method.containing_service.full_name}/{rpc}"
        make = channel.unary_stream if method.server_streaming else channel.unary_unary
        call = make(
            path,
            request_serializer=kind.SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        message = kind(**fields) if request is None else ParseDict(request, kind())
        return call(message, timeout=timeout_s, wait_for_ready=True)

    def fails(self, rpc: str, request: Any = None, /, **fields: Any) -> tuple[str, str]:
        """Call what is to fail; return the code's name and the message."""
        try:
            self.call(rpc, request, **fields)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError(f"{rpc} succeeded")

    def remove_cgroups(self) -> None:
        """Remove the pods' cgroups: a runtime leaves that to the kubelet."""
        for top in Path("/sys/fs/cgroup").glob(f"*{self.cgroup}"):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    # Pods and containers in short.

    def pod_config(self, **more: Any) -> dict[str, Any]:
        """The configuration of a pod that is like no other."""
        self.pods_made += 1
        name = f"pod{self.pods_made}"
        metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "attempt": 0}
        config = {
            "metadata": metadata,
            "hostname": name,
            "log_directory": str(self.place / "logs" / name),
            "linux": {"cgroup_parent": f"{self.cgroup}/{name}"},
        }
        for key, value in more.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value  # type: ignore[dict-item]
        return config

    def run_pod(self, config: dict[str, Any] | None = None, **more: Any) -> str:
        """Run a sandbox; return its id."""
        made = config or self.pod_config(**more)
        return str(self.call("RunPodSandbox", {"config": made}).pod_sandbox_id)

    def create(self, pod: str, *command: str, name: str = "main", **more: Any) -> str:
        """Make a container of busybox in a pod; return its id."""
        config = {
            "metadata": {"name": name},
            "image": {"image": "busybox"},
            "command": list(command),
            "log_path": f"{name}/0.log",
            **more,
        }
        request = {"pod_sandbox_id": pod, "config": config}
        return str(self.call("CreateContainer", request).container_id)

    def start(self, pod: str, *command: str, name: str = "main", **more: Any) -> str:
        """Make a container and start it; return its id."""
        container = self.create(pod, *command, name=name, **more)
        self.call("StartContainer", container_id=container)
        return container

    def run(self, pod: str, *command: str, name: str = "main", **more: Any) -> str:
        """Run a container to its end; return what it logged."""
        container = self.start(pod, *command, name=name, **more)
        self.engine.docker("wait", container)
        status = self.status(container)
        path = Path(status.log_path)
        log = path.read_text()
        path.unlink()
        self.call("RemoveContainer", container_id=container)
        return "".join(line.split(" ", 3)[3] + "\n" for line in log.splitlines())

    def status(self, container: str) -> Any:
        """The status of a container."""
        return self.call("ContainerStatus", container_id=container).status

    def clear(self) -> None:
        """Remove every pod."""
        for pod in self.call("ListPodSandbox").items:
            self.call("RemovePodSandbox", pod_sandbox_id=pod.id)

    # The real command line.

    def crictl(
        self, *words: str, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run crictl."""
        done = subprocess.run(
            [*self.command(), *words],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"crictl {' '.join(words)}: {done.returncode}\n{done.stdout.decode()}"
                f"{done.stderr.decode()}\n{self.engine.text()[-2000:]}"
            )
        return done

    def command(self) -> list[str]:
        """crictl with its endpoints."""
        settings = self.place / "crictl.yaml"
        settings.touch()
        url = f"unix://{self.socket}"
        endpoints = ["--runtime-endpoint", url, "--image-endpoint", url]
        return [str(require("crictl")), "--config", str(settings), *endpoints]

    def out(self, *words: str, stdin: bytes | None = None) -> str:
        """Run crictl and return what it printed."""
        return self.crictl(*words, stdin=stdin).stdout.decode()

    def file(self, name: str, config: Any, kind: type[Any] = PodSandboxConfig) -> str:
        """Write a configuration as crictl reads them, checked against its message."""
        ParseDict(config, kind())
        path = self.place / name
        path.write_text(json.dumps(config))
        return str(path)

    def container_file(self, name: str, config: Any) -> str:
        """Write a container's configuration."""
        return self.file(name, config, ContainerConfig)

    def events(self) -> Iterator[Any]:
        """Yield container events from now on."""
        stream = self.call("GetContainerEvents", timeout_s=60)
        stream.initial_metadata()
        return iter(stream)
