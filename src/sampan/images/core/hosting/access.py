"""Who may do what in which repositories.

A rule names users (or `*` for all that are known, `anonymous` for everybody), repositories by
pattern (`team/*`), and actions: pull, push, delete. What no rule allows is denied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.images.core.hosting.routes import Target, is_name

__all__ = ["ACTIONS", "Rule", "Scope", "allowed", "needed_scope", "parse_rules", "parse_scopes"]

ACTIONS: Final = ("pull", "push", "delete")
_SCOPE: Final = re.compile(r"repository(?:\([^)]*\))?:([^:]+(?::\d+/[^:]+)?):([a-z,*]+)")


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions in one repository; `registry:catalog` has the name "" and the action "*"."""

    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        if not self.name:
            return "registry:catalog:*"
        return f"repository:{self.name}:{','.join(sorted(self.actions))}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the permissions."""

    users: frozenset[str]
    repositories: Sequence[str]
    actions: frozenset[str]

    def covers(self, user: str | None, name: str) -> bool:
        """Tell whether it speaks of this user (None: nobody known) and this repository."""
        known = "anonymous" in self.users or (
            user is not None and ("*" in self.users or user in self.users)
        )
        return known and any(fnmatchcase(name, pattern) for pattern in self.repositories)


def allowed(rules: Sequence[Rule] | None, user: str | None, name: str) -> frozenset[str]:
    """Return what a user may do in a repository; without rules a known user may do everything."""
    if rules is None:
        return frozenset(ACTIONS) if user is not None else frozenset()
    found: set[str] = set()
    for rule in rules:
        if rule.covers(user, name):
            found |= rule.actions
    return frozenset(found)


def parse_rules(document: Mapping[str, Any]) -> list[Rule]:
    """Return the rules of a decoded permissions file; InvalidError names the rule that is wrong."""
    rules = []
    entries = document.get("rule", [])
    if not isinstance(entries, list):
        raise InvalidError("permissions: `rule` must be a list: [[rule]]")
    for number, entry in enumerate(entries, 1):
        unknown = set(entry) - {"users", "repositories", "actions"}
        if unknown:
            raise InvalidError(f"permissions: rule {number}: unknown key {sorted(unknown)[0]!r}")
        users, repositories = _texts(entry, "users", number), _texts(entry, "repositories", number)
        actions = _texts(entry, "actions", number)
        wrong = [one for one in actions if one not in (*ACTIONS, "*")]
        if wrong:
            raise InvalidError(
                f"permissions: rule {number}: {wrong[0]!r} is no action: use pull, push, delete, *"
            )
        everything = ACTIONS if "*" in actions else actions
        rules.append(Rule(frozenset(users), tuple(repositories), frozenset(everything)))
    return rules


def _texts(entry: Mapping[str, Any], key: str, number: int) -> list[str]:
    found = entry.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise InvalidError(f"permissions: rule {number}: {key} must be a list of texts")
    return found


def needed_scope(method: str, target: Target) -> Scope | None:
    """Return what a request needs, None for nothing but to be known."""
    if target.kind == "catalog":
        return Scope("", frozenset({"*"}))
    if not target.name:
        return None
    if method == "DELETE" and target.kind in ("blob", "manifest"):
        return Scope(target.name, frozenset({"delete"}))
    if target.kind in ("uploads", "upload") or method in ("PUT", "POST", "PATCH"):
        return Scope(target.name, frozenset({"pull", "push"}))
    return Scope(target.name, frozenset({"pull"}))


def parse_scopes(texts: Sequence[str]) -> list[Scope]:
    """Return the scopes that a client asks a token for; what is not understood is left out."""
    found = []
    for text in texts:
        for one in text.split(" "):
            match = _SCOPE.fullmatch(one)
            if one == "registry:catalog:*":
                found.append(Scope("", frozenset({"*"})))
            elif match is not None and is_name(match[1]):
                actions = ACTIONS if "*" in match[2] else match[2].split(",")
                found.append(Scope(match[1], frozenset(actions)))
    return found
