"""From an image to a running, healthy release: beside the old one first, then in its place.

    NAME             the release that runs
    NAME-candidate   shows that the new one gets healthy; publishes nothing of the old one's
    NAME-next        the new one with its ports, started when the old one has ended
    NAME-previous    the old one, until the new one is healthy in its place

Whatever fails, the old one is NAME again and runs. Where containers have the machine's own network,
two cannot have the same ports: there is no candidate, and the old one ends first.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sampan.base.errors import ConflictError, SampanError
from sampan.engine.client import ApiError, Client
from sampan.engine.client.containers import Containers
from sampan.engine.client.frames import frames
from sampan.ship.core.container import LABEL, bindings_of, candidate_of, shares_network
from sampan.ship.core.hint import hint_for
from sampan.ship.core.release import Release
from sampan.ship.shell.report import Report, StepFailed

__all__ = ["Rollout"]

_POLL_S: Final = 0.03
_STEADY_S: Final = 1.0
_LOG_LINES: Final = "15"


class Rollout:
    """One release's way. `cancelled` ends every wait, and what was begun is taken back."""

    def __init__(
        self, client: Client, report: Report, name: str, cancelled: threading.Event
    ) -> None:
        self._containers = Containers(client)
        self._report = report
        self._name = name
        self._cancelled = cancelled

    def recover(self) -> None:
        """Take back what an interrupted ship has left. ConflictError for a stranger's container."""
        for suffix in ("-candidate", "-next"):
            self._remove(self._name + suffix)
        present, previous = self._look(self._name), self._look(f"{self._name}-previous")
        if present is not None and (present["Config"].get("Labels") or {}).get(LABEL) is None:
            raise ConflictError(
                f"a container named {self._name} exists that was not shipped: remove it, or choose "
                "another name in sampan.toml"
            )
        if previous is not None and present is None:
            self._containers.rename(f"{self._name}-previous", self._name)
            self._containers.start(self._name)
        elif previous is not None:
            self._remove(f"{self._name}-previous")

    def is_running(self, release: Release) -> bool:
        """Tell whether that release's container runs and is not unhealthy."""
        found = self._look(self._name)
        if found is None or not found["State"]["Running"] or found["Image"] != release.image:
            return False
        return (found["State"].get("Health") or {}).get("Status") != "unhealthy"

    def go(self, release: Release, verify: Callable[[str], None]) -> list[str]:
        """Bring the release to life and return its addresses; StepFailed when it is not to be.

        `verify` gets the name of the created candidate before it is started.
        """
        candidate = f"{self._name}-candidate"
        platform = release.platform
        try:
            with self._failing("create"):
                body = candidate_of(release.body, release.health_port)
                self._containers.create(body, candidate, platform)
            verify(candidate)
            if not shares_network(release.body):
                self._show_healthy(candidate, release)
            with self._report.step("switch") as step:
                step.text = self._switch(release)
        finally:
            self._remove(candidate)
        return self._addresses(release)

    def bindings(self) -> dict[str, Any]:
        """Return where the running release's ports are published."""
        return bindings_of(self._containers.inspect(self._name))

    def _show_healthy(self, candidate: str, release: Release) -> None:
        with self._report.step("start") as step, self._failing("start"):
            self._containers.start(candidate)
            step.text = "beside the one that runs" if self._look(self._name) else "the first one"
        with self._report.step("health") as step:
            step.text = self._wait_healthy("health", candidate, release)

    # Taking the old one's place.

    def _switch(self, release: Release) -> str:
        after, before = f"{self._name}-next", f"{self._name}-previous"
        old = self._look(self._name)
        try:
            with self._failing("switch"):
                self._containers.create(release.body, after, release.platform)
                if old is not None:
                    self._containers.stop(self._name)
                    self._containers.rename(self._name, before)
                self._containers.start(after)
            health = self._wait_healthy("switch", after, release)
            self._containers.rename(after, self._name)
        except BaseException:
            self._remove(after)
            if old is not None:
                with contextlib.suppress(ApiError):
                    self._containers.rename(before, self._name)
                if old["State"]["Running"]:
                    self._containers.start(self._name)
            raise
        self._remove(before)
        if shares_network(release.body):
            return f"{health}, with the machine's own ports"
        return "in the place of the old one" if old is not None else "at its own address"

    # Health.

    def _wait_healthy(self, step: str, container: str, release: Release) -> str:
        deadline_s = time.monotonic() + release.health_timeout_s
        began_s = time.monotonic()
        while True:
            found = self._containers.inspect(container)
            state = found["State"]
            # One that ends is started again by its restart policy, and would look as if it ran.
            if not state["Running"] or state.get("Restarting") or found.get("RestartCount"):
                why = f"it ended with exit code {state['ExitCode']}"
                if state.get("OOMKilled"):
                    why = "it was killed for want of memory: raise memory in [run]"
                self._fail(step, container, why)
            health = state.get("Health")
            if release.health_http:
                if _answers(found, release.health_port, release.health_http):
                    return f"{release.health_http} answers"
            elif health is None or health["Status"] == "none":
                if time.monotonic() - began_s >= _STEADY_S:
                    return "it runs; no health check is declared"
            elif health["Status"] == "healthy":
                return "healthy by its own check"
            elif health["Status"] == "unhealthy":
                self._fail(step, container, f"its check fails: {_last_check(health)}")
            if time.monotonic() > deadline_s:
                why = f"not healthy within {release.health_timeout_s:g} s"
                self._fail(step, container, f"{why}: {_last_check(health)}" if health else why)
            if self._cancelled.wait(_POLL_S):
                raise StepFailed(step, "interrupted", "ship again")

    def _fail(self, step: str, container: str, why: str) -> None:
        logs = self._logs(container)
        hint = hint_for(f"{why}\n{logs}", "its last lines are above: mend it and ship again")
        raise StepFailed(step, why, hint, logs)

    def _logs(self, container: str) -> str:
        query = {"stdout": "1", "stderr": "1", "tail": _LOG_LINES}
        try:
            response = self._containers.logs(container, query)
            data = b"".join(chunk for _, chunk in frames(response.chunks()))
        except SampanError:
            return ""
        return data.decode(errors="replace")

    # Containers.

    @contextlib.contextmanager
    def _failing(self, step: str) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            hint = hint_for(error.message, "see what the engine says: `sampan status`, up.log")
            raise StepFailed(step, error.message, hint) from None

    def _look(self, name: str) -> Mapping[str, Any] | None:
        try:
            return self._containers.inspect(name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _remove(self, name: str) -> None:
        try:
            self._containers.remove(name, force=True, volumes=True)
        except ApiError as error:
            if error.status != 404:
                raise

    def _addresses(self, release: Release) -> list[str]:
        found = []
        for name, places in self.bindings().items():
            if name not in release.body["ExposedPorts"]:
                continue
            protocol = name.partition("/")[2]
            for place in places or ():
                host = place["HostIp"] if place["HostIp"] not in ("", "0.0.0.0") else "127.0.0.1"
                host = f"[{host}]" if ":" in host else host
                scheme = "http" if protocol == "tcp" else protocol
                found.append(f"{scheme}://{host}:{place['HostPort']}")
        return sorted(set(found))


def _last_check(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or []
    if not log:
        return "no check has ended yet"
    return str(log[-1].get("Output") or "").strip() or f"exit code {log[-1].get('ExitCode')}"


def _answers(container: Mapping[str, Any], port: str, path: str) -> bool:
    """Tell whether the published port answers the path with a status below 400."""
    places = bindings_of(container).get(port) or []
    if not places:
        return False
    host = places[0]["HostIp"] if places[0]["HostIp"] not in ("", "0.0.0.0") else "127.0.0.1"
    connection = http.client.HTTPConnection(host, int(places[0]["HostPort"]), timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
