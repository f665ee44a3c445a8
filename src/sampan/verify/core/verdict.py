"""The whole check of a history, and its result for a reader."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sampan.verify.core.budget import Budget
from sampan.verify.core.explain import explain
from sampan.verify.core.history import History, Watcher
from sampan.verify.core.linear import Linearity, Verdict, linearity, smallest
from sampan.verify.core.plan import has_revisions
from sampan.verify.core.timeline import Timeline
from sampan.verify.core.watching import Problem, disagreements, watch_problems

__all__ = ["Report", "check"]

_SHOWN = 20
_SHOWN_BESIDES = 3


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `kind` names the first thing wrong; `lines` tell all of it."""

    verdict: Verdict
    kind: str = ""
    lines: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when everything could be explained."""
        return self.verdict is Verdict.OK

    def __str__(self) -> str:
        return "\n".join(self.lines)


def check(
    history: History, budget: Budget | None = None, *, truth: Watcher | None = None
) -> Report:
    """Check that the operations are linearizable and that the watchers were told the truth.

    `budget` bounds each search; a check that exceeds it is UNDECIDED, never a guess. Who knows what
    the store really holds passes it as `truth`, a watcher of everything: then only what the store
    holds explains the answers, and nothing has to be guessed about writes without one.
    """
    budget = budget or Budget()
    if truth is None:
        found = linearity(history, budget)
    else:
        found = linearity(history, budget, strict=True, witnesses=[truth])
        history = replace(history, watchers=[*history.watchers, truth])
    if found.verdict is Verdict.UNDECIDED:
        return Report(found.verdict, found.reason, (f"undecided: {found.reason}",))
    if found.verdict is Verdict.VIOLATION:
        return _violation(history, found, budget)
    problems = _watched(history, found)
    if problems and history.watchers and truth is None:
        # Another order may explain both; the first one found is not the only one.
        again = linearity(history, budget, strict=True)
        if again.verdict is Verdict.OK:
            problems = min(problems, _watched(history, again), key=len)
    if problems:
        return Report(Verdict.VIOLATION, problems[0].guarantee, tuple(_problem_lines(problems)))
    return Report(Verdict.OK, "", (_summary(history),))


def _watched(history: History, found: Linearity) -> list[Problem]:
    timeline = Timeline(history.revision, found.steps) if has_revisions(history) else None
    problems = watch_problems(history, timeline)
    return problems if timeline else problems + disagreements(history.watchers)


def _violation(history: History, found: Linearity, budget: Budget) -> Report:
    small, dead_end = smallest(history, Budget(min(budget.steps, 3_000_000), budget.states))
    dead_end = dead_end or found.dead_end
    kind = dead_end.kind if dead_end else "not linearizable"
    lines = explain(small, dead_end, len(history.operations))
    problems = watch_problems(history, None) + disagreements(history.watchers)
    return Report(Verdict.VIOLATION, kind, (*lines, *_problem_lines(problems, _SHOWN_BESIDES)))


def _problem_lines(problems: list[Problem], shown: int = _SHOWN) -> list[str]:
    lines = [
        f"watcher {one.watcher}, revision {one.revision}: not {one.guarantee}: {one.text}"
        if not one.guarantee.startswith(("right", "nothing"))
        else f"watcher {one.watcher}, revision {one.revision}: {one.text}"
        for one in problems[:shown]
    ]
    if len(problems) > shown:
        lines.append(f"... and {len(problems) - shown} more of what watchers were told")
    return lines


def _summary(history: History) -> str:
    notices = sum(len(one.notices) for one in history.watchers)
    return (
        f"ok: {len(history.operations)} operations are linearizable, "
        f"{notices} notices to {len(history.watchers)} watchers are right"
    )
