"""The gRPC reflection service, v1 and v1alpha, over the descriptors of a pool.

The two versions have the same messages under different package names, so one implementation
serves both. Source: grpc/doc/server-reflection.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from sampan.wire.grpc.pb import reflection_v1_pb2, reflection_v1alpha_pb2
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["Reflection"]

_V1 = "grpc.reflection.v1"
_V1ALPHA = "grpc.reflection.v1alpha"


class Reflection:
    """Answers questions about `services` (full names) and every type in `pool`.

    Raises KeyError when the pool does not know a service.
    """

    def __init__(self, services: Iterable[str], pool: DescriptorPool) -> None:
        self._pool = pool
        names = {*services, f"{_V1}.ServerReflection", f"{_V1ALPHA}.ServerReflection"}
        for name in names:
            pool.FindServiceByName(name)
        self._services = sorted(names)

    def methods(self) -> MethodTable:
        """Return the methods of both versions for a server."""

        async def serve_v1(call: StreamCall) -> None:
            await self._serve(call, reflection_v1_pb2)

        async def serve_v1alpha(call: StreamCall) -> None:
            await self._serve(call, reflection_v1alpha_pb2)

        method = "ServerReflection/ServerReflectionInfo"
        return {
            f"/{_V1}.{method}": StreamMethod(serve_v1),
            f"/{_V1ALPHA}.{method}": StreamMethod(serve_v1alpha),
        }

    # The two generated modules are interchangeable, which a type cannot say.
    async def _serve(self, call: StreamCall, pb: Any) -> None:
        sent: set[str] = set()
        async for data in call:
            try:
                request = pb.ServerReflectionRequest.FromString(data)
            except DecodeError as error:
                raise RpcError(Code.INTERNAL, f"grpc: bad reflection request: {error}") from None
            response = pb.ServerReflectionResponse(
                valid_host=request.host, original_request=request
            )
            try:
                self._answer(request, response, sent)
            except KeyError as error:
                response.error_response.error_code = int(Code.NOT_FOUND)
                response.error_response.error_message = str(error.args[0])
            call.send(response.SerializeToString())
            await call.drain()

    def _answer(self, request: Any, response: Any, sent: set[str]) -> None:
        """Fill `response`; KeyError with a message when something is not known."""
        question = request.WhichOneof("message_request")
        if question == "list_services":
            for name in self._services:
                response.list_services_response.service.add(name=name)
        elif question == "file_by_filename":
            file = self._pool.FindFileByName(request.file_by_filename)
            self._add_files(response, file, sent)
        elif question == "file_containing_symbol":
            file = self._pool.FindFileContainingSymbol(request.file_containing_symbol)
            self._add_files(response, file, sent)
        elif question == "file_containing_extension":
            wanted = request.file_containing_extension
            extended = self._pool.FindMessageTypeByName(wanted.containing_type)
            extension = self._pool.FindExtensionByNumber(extended, wanted.extension_number)
            file = self._pool.FindFileContainingSymbol(extension.full_name)
            self._add_files(response, file, sent)
        elif question == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            extensions = self._pool.FindAllExtensions(self._pool.FindMessageTypeByName(name))
            answer = response.all_extension_numbers_response
            answer.base_type_name = name
            answer.extension_number.extend(sorted(e.number for e in extensions))
        else:
            response.error_response.error_code = int(Code.INVALID_ARGUMENT)
            response.error_response.error_message = f"invalid MessageRequest: {question}"

    def _add_files(self, response: Any, file: FileDescriptor, sent: set[str]) -> None:
        """Answer with `file` and what it imports, leaving out what this stream has had."""
        answer = response.file_descriptor_response
        for part in _with_imports(file):
            if part.name not in sent or part is file:
                sent.add(part.name)
                answer.file_descriptor_proto.append(part.serialized_pb)


def _with_imports(file: FileDescriptor) -> Sequence[FileDescriptor]:
    found = {file.name: file}
    waiting = [file]
    while waiting:
        for imported in waiting.pop().dependencies:
            if imported.name not in found:
                found[imported.name] = imported
                waiting.append(imported)
    return list(found.values())
