"""`moby.buildkit.v1.frontend.LLBBridge`: for clients that lead a build themselves, as buildx does.

A build begins with Control.Solve without a front end; its reference is in the metadata of every
call here. What the client returns in the end is what Control.Solve goes on with.
"""

from __future__ import annotations

from typing import Final

from sampan.base.errors import ConflictError, NotFoundError, UnsupportedError
from sampan.engine.buildkit.api.calls import answering, metadata_of
from sampan.engine.buildkit.api.control import Worker, solve_front_end
from sampan.engine.buildkit.core.caps import build_capabilities, frontend_capabilities
from sampan.engine.buildkit.core.failure import relayed_failure
from sampan.engine.buildkit.core.options import check_frontend
from sampan.engine.buildkit.pb import bridge_pb2
from sampan.engine.buildkit.shell.build import Build, Builds
from sampan.engine.buildkit.shell.frontend import FrontEnd
from sampan.wire.grpc.service import MethodTable, UnaryCall

__all__ = ["SERVICE", "BridgeService"]

SERVICE: Final = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD_ID: Final = "buildkit-controlapi-buildid"
_MOST_RESULTS: Final = 64


class BridgeService:
    """The handlers."""

    def __init__(self, builds: Builds, front_end: FrontEnd, worker: Worker) -> None:
        self._builds = builds
        self._front_end = front_end
        self._worker = worker

    def methods(self) -> MethodTable:
        """Return the methods of the service."""
        pb = bridge_pb2
        return {
            f"{SERVICE}Ping": answering(pb.PingRequest, self._ping),
            f"{SERVICE}Solve": answering(pb.SolveRequest, self._solve),
            f"{SERVICE}Evaluate": answering(pb.EvaluateRequest, self._evaluate),
            f"{SERVICE}Return": answering(pb.ReturnRequest, self._return),
            f"{SERVICE}Inputs": answering(pb.InputsRequest, self._inputs),
        }

    async def _build(self, call: UnaryCall) -> Build:
        build = await self._builds.get(metadata_of(call, _BUILD_ID))
        if build.ended:
            raise NotFoundError(f"no such job {build.ref}")
        return build

    async def _ping(self, call: UnaryCall, _: bridge_pb2.PingRequest) -> bridge_pb2.PongResponse:
        await self._build(call)
        return bridge_pb2.PongResponse(
            FrontendAPICaps=frontend_capabilities(),
            LLBCaps=build_capabilities(),
            Workers=[self._worker.record()],
        )

    async def _solve(
        self, call: UnaryCall, request: bridge_pb2.SolveRequest
    ) -> bridge_pb2.SolveResponse:
        """Build; what came of it has a name until the whole build ends."""
        build = await self._build(call)
        if not request.Frontend and request.Definition.ops:
            raise UnsupportedError("graphs of a client's own (LLB) are not supported yet")
        if request.FrontendInputs:
            name = min(request.FrontendInputs)
            raise UnsupportedError(
                f"input {name!r} is a graph of the client's own (LLB): contexts that are the "
                "result of another target, or a git repository, are not supported yet"
            )
        if len(build.results) >= _MOST_RESULTS:
            raise ConflictError(f"a build has at most {_MOST_RESULTS} results")
        result = bridge_pb2.Result()
        if request.Frontend:
            check_frontend(request.Frontend, request.FrontendOpt)
            solved = await solve_front_end(self._front_end, build, dict(request.FrontendOpt))
            for name, value in solved.metadata.items():
                result.metadata[name] = value
            if solved.built is not None:
                result.ref.id = build.add(solved)
        return bridge_pb2.SolveResponse(result=result)

    async def _evaluate(
        self, call: UnaryCall, request: bridge_pb2.EvaluateRequest
    ) -> bridge_pb2.EvaluateResponse:
        build = await self._build(call)
        if request.Ref and request.Ref not in build.results:
            raise NotFoundError(f"no such ref: {request.Ref}")
        return bridge_pb2.EvaluateResponse()

    async def _return(
        self, call: UnaryCall, request: bridge_pb2.ReturnRequest
    ) -> bridge_pb2.ReturnResponse:
        """Let Control.Solve go on with a result, or end it with the client's failure."""
        build = await self._build(call)
        if build.returned.done():
            raise ConflictError("the result of the build was returned already")
        if request.HasField("error"):
            build.returned.set_exception(relayed_failure(request.error))
            return bridge_pb2.ReturnResponse()
        refs = {request.result.ref.id, *(one.id for one in request.result.refs.refs.values())}
        named = sorted(one for one in refs if one)
        if len(named) > 1:
            raise UnsupportedError("a result that is joined from several is not supported yet")
        for one in named:
            if one not in build.results:
                raise NotFoundError(f"no such ref: {one}")
        build.returned.set_result(named[0] if named else "")
        return bridge_pb2.ReturnResponse()

    async def _inputs(
        self, call: UnaryCall, _: bridge_pb2.InputsRequest
    ) -> bridge_pb2.InputsResponse:
        await self._build(call)
        return bridge_pb2.InputsResponse()
