"""Health checks: a command run in the container again and again, and what its results mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sampan.base.units import format_duration
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.lifecycle import now_text

__all__ = ["HealthChecks", "Probe"]

Probe = Callable[[Container, list[str], float], Awaitable[tuple[int, str]]]
"""Runs a command in a container within a time; returns exit code and output."""

_KEPT: Final = 5
_OUTPUT_BYTES: Final = 4096


class HealthChecks:
    """One task for every running container that has a check."""

    def __init__(self, probe: Probe, publish: Callable[[Container, str], None]) -> None:
        self._probe = probe
        self._publish = publish

    def begin(self, container: Container) -> None:
        """Begin to check, if the container has a check."""
        check = container.record.config["Healthcheck"]
        test = (check or {}).get("Test") or []
        if not test or test == ["NONE"]:
            return
        self.end(container)
        container.record.state.health = {"Status": "starting", "FailingStreak": 0, "Log": []}
        container.health = asyncio.ensure_future(self._run(container, check, test))

    def end(self, container: Container) -> None:
        """Stop checking."""
        if container.health is not None:
            container.health.cancel()
            container.health = None
        health = container.record.state.health
        if health is not None:
            health["Status"] = "unhealthy"

    async def _run(self, container: Container, check: dict[str, Any], test: list[str]) -> None:
        shell = container.record.config["Shell"] or ["/bin/sh", "-c"]
        command = [*shell, test[1]] if test[0] == "CMD-SHELL" else test[1:]
        interval_s = _seconds(check.get("Interval"), 30.0)
        timeout_s = _seconds(check.get("Timeout"), 30.0)
        start_period_s = _seconds(check.get("StartPeriod"), 0.0)
        start_interval_s = _seconds(check.get("StartInterval"), 5.0)
        retries = check.get("Retries") or 3
        began = asyncio.get_running_loop().time()
        while True:
            health = container.record.state.health
            assert health is not None
            age_s = asyncio.get_running_loop().time() - began
            starting = health["Status"] == "starting" and age_s < start_period_s
            await asyncio.sleep(start_interval_s if starting else interval_s)
            start = now_text()
            code, output = await self._probe_safely(container, command, timeout_s)
            result = {"Start": start, "End": now_text(), "ExitCode": code, "Output": output}
            health["Log"] = [*health["Log"], result][-_KEPT:]
            in_grace = asyncio.get_running_loop().time() - began < start_period_s
            self._judge(container, health, code == 0, in_grace, retries)

    async def _probe_safely(
        self, container: Container, command: list[str], timeout_s: float
    ) -> tuple[int, str]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                code, output = await self._probe(container, command, timeout_s)
                return code, output[:_OUTPUT_BYTES]
        return -1, f"Health check exceeded timeout ({format_duration(timeout_s)})"

    def _judge(
        self,
        container: Container,
        health: dict[str, Any],
        healthy: bool,
        in_grace: bool,
        retries: int,
    ) -> None:
        before = health["Status"]
        if healthy:
            health["Status"], health["FailingStreak"] = "healthy", 0
        elif not (in_grace and before == "starting"):
            health["FailingStreak"] += 1
            if health["FailingStreak"] >= retries:
                health["Status"] = "unhealthy"
        if health["Status"] != before:
            self._publish(container, f"health_status: {health['Status']}")


def _seconds(nanoseconds: int | None, default: float) -> float:
    return nanoseconds / 1e9 if nanoseconds else default
