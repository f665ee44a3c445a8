"""The configuration of an image while its stage is evaluated: one instruction after another."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["HistoryEntry", "ImageConfig"]

_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_SHELL: Final = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of `docker history`; `empty` when no layer belongs to it."""

    created_by: str
    empty: bool
    created: str = ""
    comment: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as the configuration has it."""
        found: dict[str, Any] = {"created_by": self.created_by}
        if self.created:
            found["created"] = self.created
        if self.comment:
            found["comment"] = self.comment
        if self.empty:
            found["empty_layer"] = True
        return found


@dataclass(slots=True)
class ImageConfig:
    """What containers are run with, and how it came about. `fields` is the OCI `config` object."""

    fields: dict[str, Any] = field(default_factory=dict)
    history: list[HistoryEntry] = field(default_factory=list)
    author: str = ""
    on_build: list[str] = field(default_factory=list)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> ImageConfig:
        """Return the configuration of a base image; its ONBUILD triggers are taken out."""
        fields = {key: value for key, value in (document.get("config") or {}).items() if value}
        triggers = fields.pop("OnBuild", None) or []
        history = [
            HistoryEntry(
                str(entry.get("created_by") or ""),
                bool(entry.get("empty_layer")),
                str(entry.get("created") or ""),
                str(entry.get("comment") or ""),
            )
            for entry in document.get("history") or ()
        ]
        return cls(fields, history, str(document.get("author") or ""), list(triggers))

    def copy(self) -> ImageConfig:
        """Return one of its own for a stage that begins with this one."""
        fields = json.loads(json.dumps(self.fields))
        return ImageConfig(fields, list(self.history), self.author)

    @property
    def env(self) -> dict[str, str]:
        """The variables of containers, in their order."""
        pairs = (entry.partition("=") for entry in self.fields.get("Env") or ())
        return {name: value for name, _, value in pairs}

    def set_env(self, name: str, value: str) -> None:
        """Set one variable; one that is there keeps its place."""
        found = self.env
        found[name] = value
        self.fields["Env"] = [f"{key}={one}" for key, one in found.items()]

    def ensure_path(self) -> None:
        """Give an image without PATH the usual one."""
        if "PATH" not in self.env:
            self.set_env("PATH", _DEFAULT_PATH)

    @property
    def workdir(self) -> str:
        """The working directory, / by default."""
        return self.fields.get("WorkingDir") or "/"

    def resolve(self, path: str) -> str:
        """Return a path made absolute by the working directory; a slash at its end stays."""
        full = posixpath.normpath(posixpath.join(self.workdir, path))
        full = "/" + full.lstrip("/")
        wants_directory = path.endswith(("/", "/.")) or path in (".", "")
        return full.rstrip("/") + "/" if wants_directory else full

    @property
    def user(self) -> str:
        """The user, root by default."""
        return self.fields.get("User") or ""

    @property
    def shell(self) -> Sequence[str]:
        """What commands in shell form are given to."""
        return tuple(self.fields.get("Shell") or _DEFAULT_SHELL)

    def remember(self, created_by: str, *, empty: bool) -> None:
        """Add a line to the history."""
        self.history.append(HistoryEntry(created_by, empty, comment="buildkit.dockerfile.v0"))

    def document(
        self, architecture: Mapping[str, Any], diff_ids: Sequence[str], created: str
    ) -> dict[str, Any]:
        """Return the whole configuration document; `created` is RFC 3339.

        History entries of this build, which have no time yet, get `created`.
        """
        entries = [
            entry
            if entry.created
            else HistoryEntry(entry.created_by, entry.empty, created, entry.comment)
            for entry in self.history
        ]
        found: dict[str, Any] = {**architecture, "created": created}
        if self.author:
            found["author"] = self.author
        fields = dict(self.fields)
        if self.on_build:
            fields["OnBuild"] = list(self.on_build)
        found["config"] = fields
        found["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
        found["history"] = [entry.document() for entry in entries]
        return found
