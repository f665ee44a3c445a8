"""A whole ship and a whole rollback: the steps, what is recorded of them, what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from sampan.base.errors import NotFoundError
from sampan.engine.client import Address, ApiError, Client
from sampan.engine.client.images import Images
from sampan.engine.client.networks import Networks
from sampan.ship.core.container import (
    RELEASE_LABEL,
    container_body,
    health_port,
    health_timeout_s,
    ports_for,
)
from sampan.ship.core.release import LIVE, Release, current, next_number, to_return_to
from sampan.ship.shell.building import build, megabytes, verify
from sampan.ship.shell.checking import Check, check
from sampan.ship.shell.ledger import Ledger
from sampan.ship.shell.report import Report, StepFailed
from sampan.ship.shell.rollout import Rollout
from sampan.ship.shell.source import Source

__all__ = ["Targets", "roll_back", "ship"]

KEPT: Final = 10
"""Releases of an application whose images and records stay."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the engine and the store are."""

    engine: Address
    store: Sequence[str]


async def ship(
    targets: Targets,
    source: Source,
    report: Report,
    platform: str = "",
    look: Check | None = None,
) -> bool:
    """Bring a source to life; tells whether it runs. What it did is said in the report.

    `look` checks the build settings before the build.
    """
    name = source.settings.name
    async with Ledger.open(targets.store) as ledger, ledger.turn(name):
        releases = await ledger.releases(name)
        work = _Work(targets, report, name)
        release = await work.in_thread(lambda: work.ship(source, platform, releases, look))
        if release is None:
            return True
        return await _record(ledger, work, releases, release)


async def roll_back(targets: Targets, name: str, number: int, report: Report) -> bool:
    """Bring an earlier release back (0: the one before); NotFoundError when there is none."""
    async with Ledger.open(targets.store) as ledger, ledger.turn(name):
        releases = await ledger.releases(name)
        if not releases:
            raise NotFoundError(f"nothing named {name} has been shipped: `sampan releases`")
        old = to_return_to(releases, number)
        work = _Work(targets, report, name)
        report.say(f"{name}: back to release {old.number}")
        release = await work.in_thread(lambda: work.roll_back(old, releases))
        return await _record(ledger, work, releases, release)


async def _record(
    ledger: Ledger, work: _Work, releases: Sequence[Release], release: Release
) -> bool:
    await ledger.write(release)
    if release.outcome != LIVE:
        return False
    live = [one for one in releases if one.outcome == LIVE]
    for old in [*live[: max(0, len(live) + 1 - KEPT)]]:
        await work.in_thread(lambda old=old: work.untag(old.number))  # type: ignore[misc]
        await ledger.forget(old)
    return True


class _Work:
    """The blocking part, in a thread of its own."""

    def __init__(self, targets: Targets, report: Report, name: str) -> None:
        self._client = Client(targets.engine)
        self._images = Images(self._client)
        self._report = report
        self._name = name
        self._cancelled = threading.Event()
        self._rollout = Rollout(self._client, report, name, self._cancelled)

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run a call; when this task is cancelled, the call is made to clear up and end."""
        job = asyncio.ensure_future(asyncio.to_thread(call))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            self._cancelled.set()
            self._client.interrupt()
            with contextlib.suppress(Exception):
                await job
            raise

    def ship(
        self,
        source: Source,
        platform: str,
        releases: Sequence[Release],
        look: Check | None,
    ) -> Release | None:
        """Return what became of it, None when what runs is the same already."""
        self._rollout.recover()
        number = next_number(releases)
        tag = f"{self._name}:r{number}"
        now = current(releases)
        release = self._begun(number)
        bridged = any(one["Name"] == "bridge" for one in Networks(self._client).list())
        if not bridged:
            self._report.say("  the engine has no bridge network: the machine's own is used")
        try:
            if look is not None:
                check(self._report, look, source.directory)
            network = "" if bridged else "host"
            image = build(self._client, self._report, source, tag, platform, network)
        except StepFailed as error:
            return self._failed(release, error, now)
        settings = source.settings
        own_check = (image.get("Config") or {}).get("Healthcheck")
        ports = ports_for(
            settings,
            list((image.get("Config") or {}).get("ExposedPorts") or {}),
            now.body if now else {},
        )
        release = replace(
            release,
            image=image["Id"],
            size_bytes=image["Size"],
            platform=platform,
            health_http=settings.health_http,
            health_port=health_port(settings, ports),
            health_timeout_s=health_timeout_s(settings, own_check),
            body=container_body(
                settings, image["Id"], ports, bridged=bridged, image_check=own_check
            ),
        )
        if now is not None and _same(now, release) and self._rollout.is_running(now):
            self.untag(number)
            self._report.say(f"  nothing has changed: release {now.number} runs")
            self._say_addresses(now)
            return None
        known = any(one.image == release.image and one.outcome == LIVE for one in releases)
        return self._bring_up(release, now, None if known else image)

    def roll_back(self, old: Release, releases: Sequence[Release]) -> Release:
        """Return what became of it."""
        self._rollout.recover()
        number = next_number(releases)
        try:
            self._images.inspect(old.image)
        except ApiError as error:
            if error.status != 404:
                raise
            raise NotFoundError(
                f"the image of release {old.number} is not there any more: ship its source again"
            ) from None
        self._images.tag(old.image, self._name, f"r{number}")
        release = replace(
            old,
            number=number,
            created=_now(),
            detail="",
            rollback_of=old.rollback_of or old.number,
            addresses=(),
        )
        return self._bring_up(release, current(releases), None)

    def untag(self, number: int) -> None:
        """Take a release's name from its image, which goes with the last one."""
        with contextlib.suppress(ApiError):
            self._images.remove(f"{self._name}:r{number}")

    def _begun(self, number: int) -> Release:
        return Release(self._name, number, _now(), "failed", "")

    def _bring_up(
        self, release: Release, now: Release | None, unknown: dict[str, Any] | None
    ) -> Release:
        def look(container: str) -> None:
            if unknown is not None:
                verify(self._client, self._report, unknown, container)

        labels = {**release.body["Labels"], RELEASE_LABEL: str(release.number)}
        named = f"{self._name}:r{release.number}"
        labelled = replace(release, body={**release.body, "Labels": labels, "Image": named})
        try:
            addresses = self._rollout.go(labelled, look)
        except StepFailed as error:
            self.untag(release.number)
            return self._failed(release, error, now)
        self._images.tag(release.image, self._name, "latest")
        body = _with_numbers(release.body, self._rollout.bindings())
        done = replace(
            release,
            outcome=LIVE,
            addresses=tuple(addresses),
            steps=dict(self._report.steps),
            body=body,
        )
        total_s = sum(self._report.steps.values())
        self._report.say(
            f"{self._name}: release {done.number} is live, image {megabytes(done.size_bytes)}, "
            f"{total_s:.2f} s in all"
        )
        self._say_addresses(done)
        return done

    def _failed(self, release: Release, error: StepFailed, now: Release | None) -> Release:
        if self._cancelled.is_set():
            # What a cut connection looks like says nothing.
            error = StepFailed(error.step, "interrupted", "ship again")
        self._report.failed(error)
        running = now is not None and self._rollout.is_running(now)
        if now is not None and running:
            self._report.say(f"{self._name}: release {now.number} still runs")
        else:
            self._report.say(f"{self._name}: nothing runs")
        detail = f"{error.step}: {error}"
        return replace(release, outcome="failed", detail=detail, steps=dict(self._report.steps))

    def _say_addresses(self, release: Release) -> None:
        for address in release.addresses:
            self._report.say(f"  {address}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _same(now: Release, fresh: Release) -> bool:
    fields = ("image", "platform", "health_http", "health_port", "body")
    return all(getattr(now, one) == getattr(fresh, one) for one in fields)


def _with_numbers(body: Any, bindings: dict[str, Any]) -> dict[str, Any]:
    """Return a body that asks for the ports that it has got, so that the next one has the same."""
    host = {**body["HostConfig"], "PortBindings": {**body["HostConfig"]["PortBindings"]}}
    for name, wanted in host["PortBindings"].items():
        got = [one["HostPort"] for one in bindings.get(name) or ()][: len(wanted)]
        numbers = [*got, *("" for _ in wanted[len(got) :])]
        host["PortBindings"][name] = [
            {**one, "HostPort": one["HostPort"] or number}
            for one, number in zip(wanted, numbers, strict=True)
        ]
    return {**body, "HostConfig": host}
