"""Calls about containers and the commands that run in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sampan.engine.client.client import Client, quoted
from sampan.engine.client.hijack import Hijacked
from sampan.engine.client.queries import filters, present
from sampan.engine.client.transport import Response

__all__ = ["Containers"]

Document = dict[str, Any]


class Containers:
    """The containers of one daemon; `name` is a name, an id, or the beginning of an id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, body: Mapping[str, Any], name: str = "", platform: str = "") -> Document:
        """Make a container; returns Id and Warnings."""
        query = present(name=name, platform=platform)
        found: Document = self._client.call("POST", "/containers/create", query, body)
        return found

    def inspect(self, name: str, size: bool = False) -> Document:
        """Return everything about one."""
        found: Document = self._client.call("GET", _path(name, "json"), present(size=size))
        return found

    def list(
        self,
        everything: bool = False,
        limit: int = 0,
        size: bool = False,
        wanted: Iterable[tuple[str, str]] = (),
    ) -> Sequence[Document]:
        """Return a line each; the running ones, or all."""
        query = present(all=everything, limit=limit, size=size, filters=filters(wanted))
        found: Sequence[Document] = self._client.call("GET", "/containers/json", query)
        return found

    def start(self, name: str, detach_keys: str = "") -> None:
        """Start it; nothing happens when it runs."""
        self._client.call("POST", _path(name, "start"), present(detachKeys=detach_keys))

    def stop(self, name: str, timeout_s: int | None = None, signal: str = "") -> None:
        """Ask it to end, and make it after `timeout_s`; -1 waits for ever."""
        self._client.call("POST", _path(name, "stop"), _stopping(timeout_s, signal))

    def restart(self, name: str, timeout_s: int | None = None, signal: str = "") -> None:
        """Stop it and start it."""
        self._client.call("POST", _path(name, "restart"), _stopping(timeout_s, signal))

    def kill(self, name: str, signal: str = "") -> None:
        """Send a signal to its first process, KILL by default."""
        self._client.call("POST", _path(name, "kill"), present(signal=signal))

    def pause(self, name: str) -> None:
        """Freeze its processes."""
        self._client.call("POST", _path(name, "pause"))

    def unpause(self, name: str) -> None:
        """Let them go on."""
        self._client.call("POST", _path(name, "unpause"))

    def rename(self, name: str, new: str) -> None:
        """Give it another name."""
        self._client.call("POST", _path(name, "rename"), {"name": new})

    def update(self, name: str, body: Mapping[str, Any]) -> Document:
        """Change limits and restart policy; returns Warnings."""
        return self._client.call("POST", _path(name, "update"), None, body) or {}

    def remove(
        self, name: str, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        """Remove it, with its anonymous volumes if wanted; a running one only by force."""
        query = present(force=force, v=volumes, link=link)
        self._client.call("DELETE", f"/containers/{quoted(name)}", query)

    def prune(self, wanted: Iterable[tuple[str, str]] = ()) -> Document:
        """Remove those that do not run."""
        query = present(filters=filters(wanted))
        found: Document = self._client.call("POST", "/containers/prune", query)
        return found

    def wait(self, name: str, condition: str = "") -> Response:
        """Begin to wait; the answer's body comes when it is over."""
        return self._client.open("POST", _path(name, "wait"), present(condition=condition))

    def attach(
        self,
        name: str,
        streams: Iterable[str],
        logs: bool = False,
        detach_keys: str = "",
    ) -> Hijacked:
        """Connect to its streams, of stdin, stdout and stderr those that are named."""
        query = {"stream": "1", **present(logs=logs, detachKeys=detach_keys)}
        query.update(dict.fromkeys(streams, "1"))
        return self._client.hijack(_path(name, "attach"), query)

    def logs(self, name: str, query: Mapping[str, str]) -> Response:
        """Return its log as a stream."""
        return self._client.open("GET", _path(name, "logs"), query)

    def resize(self, name: str, rows: int, columns: int) -> None:
        """Tell its terminal a new size."""
        query = {"h": str(rows), "w": str(columns)}
        self._client.call("POST", _path(name, "resize"), query)

    def top(self, name: str, arguments: str = "") -> Document:
        """Return its processes as Titles and Processes."""
        found: Document = self._client.call("GET", _path(name, "top"), present(ps_args=arguments))
        return found

    def changes(self, name: str) -> Sequence[Document]:
        """Return what differs from its image."""
        return self._client.call("GET", _path(name, "changes")) or []

    def stats(self, name: str, stream: bool) -> Iterator[Document]:
        """Yield its use of resources, once or every second."""
        query = {"stream": "1" if stream else "0"}
        return self._client.documents("GET", _path(name, "stats"), query)

    def export(self, name: str) -> Response:
        """Return its files as a tar stream."""
        return self._client.open("GET", _path(name, "export"))

    def stat(self, name: str, path: str) -> Document:
        """Return what is at a path inside: name, size, mode, link target."""
        response = self._client.open("HEAD", _path(name, "archive"), {"path": path})
        return _path_stat(response)

    def get_archive(self, name: str, path: str) -> tuple[Document, Response]:
        """Return what is at a path, and it and everything below as a tar stream."""
        response = self._client.open("GET", _path(name, "archive"), {"path": path})
        return _path_stat(response), response

    def put_archive(
        self, name: str, path: str, archive: Iterable[bytes], copy_owner: bool = False
    ) -> None:
        """Unpack a tar stream into a directory."""
        query = {"path": path, "noOverwriteDirNonDir": "true", **present(copyUIDGID=copy_owner)}
        headers = {"Content-Type": "application/x-tar"}
        self._client.open("PUT", _path(name, "archive"), query, archive, headers).read()

    def create_exec(self, name: str, body: Mapping[str, Any]) -> str:
        """Prepare a command in a running container; returns its id."""
        return str(self._client.call("POST", _path(name, "exec"), None, body)["Id"])

    def start_exec(self, exec_id: str, terminal: bool) -> Hijacked:
        """Run the command and return its streams."""
        body = {"Detach": False, "Tty": terminal}
        return self._client.hijack(f"/exec/{exec_id}/start", None, body)

    def detach_exec(self, exec_id: str, terminal: bool) -> None:
        """Run the command without anybody listening."""
        self._client.call("POST", f"/exec/{exec_id}/start", None, {"Detach": True, "Tty": terminal})

    def inspect_exec(self, exec_id: str) -> Document:
        """Return whether the command runs, and its exit code."""
        found: Document = self._client.call("GET", f"/exec/{exec_id}/json")
        return found

    def resize_exec(self, exec_id: str, rows: int, columns: int) -> None:
        """Tell the command's terminal a new size."""
        query = {"h": str(rows), "w": str(columns)}
        self._client.call("POST", f"/exec/{exec_id}/resize", query)


def _path(name: str, what: str) -> str:
    return f"/containers/{quoted(name)}/{what}"


def _stopping(timeout_s: int | None, signal: str) -> dict[str, str]:
    query = {} if timeout_s is None else {"t": str(timeout_s)}
    return {**query, **present(signal=signal)}


def _path_stat(response: Response) -> Document:
    import base64
    import json

    text = response.headers.get("x-docker-container-path-stat", "")
    found: Document = json.loads(base64.b64decode(text)) if text else {}
    return found
