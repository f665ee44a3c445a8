"""RuntimeService of CRI: the runtime itself, pods, containers."""

from __future__ import annotations

import json
import time

from sampan import __version__
from sampan.base.errors import UnsupportedError
from sampan.engine.cri.core.sandbox import HANDLERS
from sampan.engine.cri.pb import container_calls_pb2 as calls
from sampan.engine.cri.pb import sandbox_calls_pb2 as pod_calls
from sampan.engine.cri.pb.runtime_pb2 import (
    CgroupDriver,
    RuntimeConfigRequest,
    RuntimeConfigResponse,
    StatusRequest,
    StatusResponse,
    UpdateRuntimeConfigRequest,
    UpdateRuntimeConfigResponse,
    VersionRequest,
    VersionResponse,
)
from sampan.engine.cri.shell.containers import PodContainers
from sampan.engine.cri.shell.podnet import PodNetworking
from sampan.engine.cri.shell.pods import Pods
from sampan.engine.daemon.shell.engine import Engine

__all__ = ["RuntimeService"]


class RuntimeService:
    """One coroutine an RPC; see CRI's protocol for what each promises."""

    def __init__(
        self,
        engine: Engine,
        networking: PodNetworking,
        pods: Pods,
        containers: PodContainers,
    ) -> None:
        self._engine = engine
        self._networking = networking
        self._pods = pods
        self._containers = containers
        self._pod_cidr = ""

    # The runtime.

    async def version(self, request: VersionRequest) -> VersionResponse:
        """Tell which runtime this is."""
        del request
        return VersionResponse(
            version="0.1.0",
            runtime_name="sampan",
            runtime_version=__version__,
            runtime_api_version="v1",
        )

    async def status(self, request: StatusRequest) -> StatusResponse:
        """Tell whether the runtime and its network are ready, and what the runtime can do."""
        response = StatusResponse()
        response.status.conditions.add(type="RuntimeReady", status=True)
        network = response.status.conditions.add(type="NetworkReady", status=True)
        if self._networking.for_pods() == "none":
            network.status, network.reason = False, "NetworkPluginNotReady"
            network.message = "the daemon makes no bridges (--bridge=none)"
        for name in HANDLERS:
            handler = response.runtime_handlers.add(name=name)
            handler.features.recursive_read_only_mounts = True
            handler.features.user_namespaces = True
        response.features.supplemental_groups_policy = True
        if request.verbose:
            shown = {
                "dataRoot": str(self._engine.options.data_root),
                "execRoot": str(self._engine.options.exec_root),
                "cgroupDriver": "cgroupfs",
                "podCIDR": self._pod_cidr,
                "containers": len(self._engine.registry),
            }
            response.info["config"] = json.dumps(shown)
        return response

    async def update_runtime_config(
        self, request: UpdateRuntimeConfigRequest
    ) -> UpdateRuntimeConfigResponse:
        """Take the node's pod subnets for the network of pods."""
        await self._networking.use_subnets(request.runtime_config.network_config.pod_cidr)
        self._pod_cidr = request.runtime_config.network_config.pod_cidr
        return UpdateRuntimeConfigResponse()

    async def runtime_config(self, request: RuntimeConfigRequest) -> RuntimeConfigResponse:
        """Tell the cgroup driver."""
        del request
        response = RuntimeConfigResponse()
        response.linux.cgroup_driver = CgroupDriver.CGROUPFS
        return response

    # Pods.

    async def run_pod_sandbox(
        self, request: pod_calls.RunPodSandboxRequest
    ) -> pod_calls.RunPodSandboxResponse:
        """Make and start a sandbox."""
        id_ = await self._pods.run(request.config, request.runtime_handler)
        return pod_calls.RunPodSandboxResponse(pod_sandbox_id=id_)

    async def stop_pod_sandbox(
        self, request: pod_calls.StopPodSandboxRequest
    ) -> pod_calls.StopPodSandboxResponse:
        """Stop a sandbox and its containers."""
        await self._pods.stop(request.pod_sandbox_id)
        return pod_calls.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, request: pod_calls.RemovePodSandboxRequest
    ) -> pod_calls.RemovePodSandboxResponse:
        """Remove a sandbox and its containers."""
        await self._pods.remove(request.pod_sandbox_id)
        return pod_calls.RemovePodSandboxResponse()

    async def pod_sandbox_status(
        self, request: pod_calls.PodSandboxStatusRequest
    ) -> pod_calls.PodSandboxStatusResponse:
        """Describe a sandbox."""
        response = self._pods.answer(request.pod_sandbox_id, verbose=request.verbose)
        response.containers_statuses.extend(self._containers.statuses(response.status.id))
        response.timestamp = time.time_ns()
        return response

    async def list_pod_sandbox(
        self, request: pod_calls.ListPodSandboxRequest
    ) -> pod_calls.ListPodSandboxResponse:
        """List sandboxes."""
        return pod_calls.ListPodSandboxResponse(items=self._pods.items(request.filter))

    async def update_pod_sandbox_resources(
        self, request: pod_calls.UpdatePodSandboxResourcesRequest
    ) -> pod_calls.UpdatePodSandboxResourcesResponse:
        """Take note of a pod's resources; its cgroup is the kubelet's own to write."""
        self._pods.note_resources(request.pod_sandbox_id, request.overhead, request.resources)
        return pod_calls.UpdatePodSandboxResourcesResponse()

    # Containers.

    async def create_container(
        self, request: calls.CreateContainerRequest
    ) -> calls.CreateContainerResponse:
        """Make a container in a sandbox."""
        id_ = await self._containers.create(request.pod_sandbox_id, request.config)
        return calls.CreateContainerResponse(container_id=id_)

    async def start_container(
        self, request: calls.StartContainerRequest
    ) -> calls.StartContainerResponse:
        """Start a container."""
        await self._containers.start(request.container_id)
        return calls.StartContainerResponse()

    async def stop_container(
        self, request: calls.StopContainerRequest
    ) -> calls.StopContainerResponse:
        """Stop a container."""
        await self._containers.stop(request.container_id, request.timeout)
        return calls.StopContainerResponse()

    async def remove_container(
        self, request: calls.RemoveContainerRequest
    ) -> calls.RemoveContainerResponse:
        """Remove a container."""
        await self._containers.remove(request.container_id)
        return calls.RemoveContainerResponse()

    async def list_containers(
        self, request: calls.ListContainersRequest
    ) -> calls.ListContainersResponse:
        """List containers."""
        return calls.ListContainersResponse(containers=self._containers.items(request.filter))

    async def container_status(
        self, request: calls.ContainerStatusRequest
    ) -> calls.ContainerStatusResponse:
        """Describe a container."""
        return self._containers.answer(request.container_id, verbose=request.verbose)

    async def update_container_resources(
        self, request: calls.UpdateContainerResourcesRequest
    ) -> calls.UpdateContainerResourcesResponse:
        """Change a container's limits."""
        await self._containers.update(request.container_id, request.linux)
        return calls.UpdateContainerResourcesResponse()

    async def reopen_container_log(
        self, request: calls.ReopenContainerLogRequest
    ) -> calls.ReopenContainerLogResponse:
        """Open a container's log anew."""
        await self._containers.reopen_log(request.container_id)
        return calls.ReopenContainerLogResponse()

    async def checkpoint_container(
        self, request: calls.CheckpointContainerRequest
    ) -> calls.CheckpointContainerResponse:
        """Refuse: there are no checkpoints."""
        raise UnsupportedError(f"checkpoint of {request.container_id}: not supported")
