"""`sampan sim`: run the simulator with seeds of one's own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from sampan.cli.command import run_command
from sampan.sim import Outcome, Schedule, Settings, plan, shrink, simulate
from sampan.sim.schedule import MIXES

__all__ = ["main"]

_HOUR_MS = 3_600_000
_file = click.Path(dir_okay=False, path_type=Path)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code: 1 when a promise was broken, 2 for bad usage."""
    return run_command(_sim, "sim", arguments)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=int, help="Run this one seed.")
@click.option("--seeds", metavar="A-B", help="Run the seeds from A to B.")
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
@click.option("--members", type=click.Choice(["3", "5"]), default="3", show_default=True)
@click.option("--mix", type=click.Choice(sorted(MIXES)), default="all", show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, help="Processes to share the seeds.")
@click.option("--shrink", "smaller", is_flag=True, help="Make the first failure smaller.")
@click.option("--trace", type=_file, help="Write what happened, an event a line.")
@click.option("--replay", type=_file, help="Run a kept schedule again.")
@click.option("--save", type=_file, help="Keep the schedule of a failure.")
def _sim(
    seed: int | None,
    seeds: str | None,
    steps: int,
    members: str,
    mix: str,
    jobs: int,
    smaller: bool,
    trace: Path | None,
    replay: Path | None,
    save: Path | None,
) -> None:
    """Simulate a cluster: members, network, disks, clients and what befalls them, from a seed.

    Checked are Raft's safety, that nothing acknowledged is lost, that all members have the same
    state, that what clients saw is linearizable, that watchers were told everything once and in
    order, and that the cluster works again when all has healed. The exit code is 1 when a promise
    was broken; the same seed and options of the same version give the same run.
    """
    if replay is not None:
        schedules: Iterable[Schedule] = [_read(replay)]
    else:
        numbers = _numbers(seed, seeds)
        schedules = (plan(Settings(each, steps, int(members), mix)) for each in numbers)
    started_s = time.monotonic()
    outcomes = _run(schedules, jobs, keep_trace=trace is not None)
    totals = _Totals()
    for schedule, outcome in outcomes:
        totals.add(outcome)
        if trace is not None:
            trace.write_text("\n".join(outcome.lines) + "\n", encoding="utf-8")
        if seed is not None or replay is not None:
            click.echo(_line(outcome))
        if outcome.violation is not None:
            _report(schedule, outcome, smaller=smaller, save=save)
            smaller = False
    click.echo(totals.line(time.monotonic() - started_s))
    if totals.failed:
        sys.exit(1)


def _numbers(seed: int | None, seeds: str | None) -> range:
    if seeds is None:
        return range(seed if seed is not None else 1, (seed if seed is not None else 1) + 1)
    first, dash, last = seeds.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise click.BadParameter(f"{seeds!r} is not of the form A-B", param_hint="--seeds")
    return range(int(first), int(last) + 1)


def _read(path: Path) -> Schedule:
    try:
        return Schedule.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{path} is no schedule: {error}") from error


def _run(
    schedules: Iterable[Schedule], jobs: int, *, keep_trace: bool
) -> Iterable[tuple[Schedule, Outcome]]:
    if jobs == 1:
        for schedule in schedules:
            yield schedule, simulate(schedule, keep_trace=keep_trace)
        return
    with ProcessPoolExecutor(jobs) as pool:
        planned = list(schedules)
        yield from zip(planned, pool.map(simulate, planned, chunksize=8), strict=True)


def _line(outcome: Outcome) -> str:
    return (
        f"seed {outcome.seed}: trace {outcome.trace}, {outcome.operations} operations "
        f"({outcome.acknowledged} acknowledged), {outcome.leaders} leaders, {outcome.crashes} "
        f"crashes, {outcome.snapshots} snapshots, {outcome.simulated_ms / 1000:.0f} s"
    )


def _report(schedule: Schedule, outcome: Outcome, *, smaller: bool, save: Path | None) -> None:
    settings = schedule.settings
    click.echo(f"seed {outcome.seed}: {outcome.violation}")
    click.echo(
        f"again: sampan sim --seed {settings.seed} --steps {settings.steps} "
        f"--members {settings.members} --mix {settings.mix} --trace trace.txt"
    )
    if smaller and outcome.violation is not None:
        schedule = shrink(schedule, outcome.violation.kind)
        click.echo(f"{len(schedule.steps)} steps are enough:")
        for step in schedule.steps:
            click.echo(f"  {step.at_ms:.0f} ms {step.kind} {step.one} {step.other} {step.size}")
    if save is not None:
        save.write_text(json.dumps(schedule.to_json()) + "\n", encoding="utf-8")
        click.echo(f"kept in {save}: sampan sim --replay {save}")


class _Totals:
    """What all runs came to."""

    def __init__(self) -> None:
        self.runs = self.failed = self.undecided = self.acknowledged = self.crashes = 0
        self.simulated_ms = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.failed += not outcome.ok
        self.undecided += not outcome.decided
        self.acknowledged += outcome.acknowledged
        self.crashes += outcome.crashes
        self.simulated_ms += outcome.simulated_ms

    def line(self, took_s: float) -> str:
        """Say it in a line."""
        hours = self.simulated_ms / _HOUR_MS
        return (
            f"{self.runs} runs, {self.failed} failed, {self.undecided} undecided; "
            f"{hours:.2f} cluster-hours in {took_s:.1f} s ({hours * 3600 / took_s:.0f} times real "
            f"time), {self.acknowledged} operations acknowledged, {self.crashes} crashes"
        )
