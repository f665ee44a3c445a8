"""The ground under the client's groups of methods: typed calls over a dispatcher."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

from sampan.store.client.dispatch import Dispatcher

__all__ = ["DEFAULT_TIMEOUT", "Calls"]

Response = TypeVar("Response", bound=Message)

DEFAULT_TIMEOUT = -1.0
"""As `timeout_s`: the client's own default."""


class Calls:
    """Typed calls: a request message in, a response message out."""

    def __init__(self, dispatcher: Dispatcher, timeout_s: float | None) -> None:
        self.dispatcher = dispatcher
        self._timeout_s = timeout_s

    async def call(
        self,
        path: str,
        request: Message,
        response_type: type[Response],
        *,
        repeatable: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT,
        endpoint: str | None = None,
    ) -> Response:
        """Call any unary method by its full name, `/package.Service/Method`.

        `repeatable` says that doing it twice is as good as once, which allows more retries.
        `timeout_s` None waits for ever. `endpoint` pins the call to one endpoint.
        Raises RpcError with the server's code and message.
        """
        reply = await self.dispatcher.call(
            path,
            request.SerializeToString(),
            repeatable=repeatable,
            timeout_s=self._timeout_s if timeout_s == DEFAULT_TIMEOUT else timeout_s,
            endpoint=endpoint,
        )
        return response_type.FromString(reply)
