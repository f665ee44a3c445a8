"""The rules that a Dockerfile is checked by, and which of them somebody wants to hear of.

Source: Docker's documentation, "Build checks". A rule finds what works but will surprise; only
`error=true` makes it stop a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sampan.base.diagnostic import Diagnostic, Severity, Span
from sampan.base.errors import InvalidError

__all__ = ["EXPERIMENTAL", "RULES", "CheckOptions", "finding", "parse_check_options"]

RULES: Final[Mapping[str, str]] = {
    "ConsistentInstructionCasing": "Write all instructions in capitals, or all in small letters.",
    "CopyIgnoredFile": "What .dockerignore leaves out cannot be copied: the copy will fail.",
    "DuplicateStageName": "A later stage of the same name hides the earlier one.",
    "ExposeInvalidFormat": "EXPOSE names ports of the container only; publish them when it is run.",
    "ExposeProtoCasing": "Write the protocol of a port in small letters.",
    "FromAsCasing": "Write AS as FROM is written: both in capitals, or both in small letters.",
    "FromPlatformFlagConstDisallowed": (
        "A stage with a fixed platform makes the same for every target; use a variable such as "
        "$BUILDPLATFORM."
    ),
    "InvalidBaseImagePlatform": "The base image is not for the platform that is built for.",
    "InvalidDefaultArgInFrom": (
        "Without --build-arg this FROM has no base: give the ARG a default that makes one."
    ),
    "InvalidDefinitionDescription": (
        "A comment right above a stage or an argument describes it and begins with its name; "
        "an empty line makes it an ordinary comment."
    ),
    "JSONArgsRecommended": (
        'A shell between does not pass signals on: write ["program", "argument"], or name the '
        "shell with SHELL."
    ),
    "LegacyKeyValueFormat": "Put an equals sign between name and value; the blank is deprecated.",
    "MaintainerDeprecated": "Use LABEL org.opencontainers.image.authors instead.",
    "MultipleInstructionsDisallowed": "Of several in a stage only the last one counts.",
    "NoEmptyContinuation": "Remove the empty line: a later syntax will refuse it.",
    "RedundantTargetPlatform": "Without --platform it is the same: leave it out.",
    "ReservedStageName": "The name means something else: choose another one.",
    "SecretsUsedInArgOrEnv": (
        "Everybody who has the image can read it: use RUN --mount=type=secret."
    ),
    "StageNameCasing": "Write names of stages in small letters: they are compared without case.",
    "UndefinedArgInFrom": "FROM sees what ARG has declared before the first FROM.",
    "UndefinedVar": "Declare it by ARG or ENV before it is used; it is empty here.",
    "WorkdirRelativePath": (
        "Where it leads depends on the base image: begin with an absolute WORKDIR."
    ),
}
"""What is recommended, by the rule's name."""

EXPERIMENTAL: Final = frozenset({"InvalidDefinitionDescription"})
"""Rules that are checked only for who asks for them."""

_ALL: Final = "all"
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """`skip` and `experimental` are names of rules, in small letters, or `all`."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: str) -> bool:
        """Tell whether findings of a rule are to be told."""
        name = rule.lower()
        if {_ALL, name} & self.skip and not (_ALL in self.skip and name in self.experimental):
            return False
        return rule not in EXPERIMENTAL or bool({_ALL, name} & self.experimental)

    def select(self, found: Iterable[Diagnostic]) -> list[Diagnostic]:
        """Return the findings to tell, each once, in the order of their places.

        With `error` they are errors.
        """
        severity = Severity.ERROR if self.error else Severity.WARNING
        kept = dict.fromkeys(one for one in found if self.wants(one.rule))
        return sorted((replace(one, severity=severity) for one in kept), key=lambda one: one.span)


def parse_check_options(text: str) -> CheckOptions:
    """Return the options of a `check` directive: `skip=A,B;error=true;experimental=C`.

    Raises InvalidError for an option that does not exist and a truth that is none.
    """
    values: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(";"))):
        key, _, value = part.partition("=")
        key = key.strip().lower()
        if key not in ("skip", "error", "experimental"):
            raise InvalidError(f"invalid check option {key!r}: use skip, error or experimental")
        values[key] = value.strip().lower()
    error = values.get("error", "false")
    if error not in _TRUTHS:
        raise InvalidError(f"invalid check option error={error}: use true or false")
    skip, experimental = (_names(values.get(key, "")) for key in ("skip", "experimental"))
    return CheckOptions(skip, experimental, _TRUTHS[error])


def _names(text: str) -> frozenset[str]:
    return frozenset(one.strip() for one in text.split(",") if one.strip())


def finding(rule: str, summary: str, span: Span) -> Diagnostic:
    """Return what a rule has found at a place."""
    return Diagnostic(Severity.WARNING, rule, summary, span, RULES[rule])
