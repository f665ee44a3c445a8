"""The membership that Raft counts by, as the backend keeps it: `meta/confState`, as in etcd."""

from __future__ import annotations

import json
from typing import Final

from sampan.raft import ConfState
from sampan.store.core.backend import META_BUCKET, Backend

__all__ = ["CONF_STATE", "format_conf_state", "load_conf_state", "store_conf_state"]

CONF_STATE: Final = b"confState"


def store_conf_state(backend: Backend, state: ConfState) -> None:
    """Keep `state` with the writes of the entry that brought it about."""
    backend.put(META_BUCKET, CONF_STATE, format_conf_state(state))


def format_conf_state(state: ConfState) -> bytes:
    """Return the stored form of a membership."""
    fields: dict[str, object] = {
        "voters": list(state.voters),
        "learners": list(state.learners),
        "voters_outgoing": list(state.voters_outgoing),
        "learners_next": list(state.learners_next),
        "auto_leave": state.auto_leave,
    }
    kept = {name: value for name, value in fields.items() if value}
    return json.dumps(kept, separators=(",", ":")).encode()


def load_conf_state(backend: Backend) -> ConfState:
    """Return what is kept; without any an empty membership. Raises ValueError for a damaged one."""
    raw = backend.get(META_BUCKET, CONF_STATE)
    return ConfState() if raw is None else parse_conf_state(raw)


def parse_conf_state(raw: bytes) -> ConfState:
    """Return the membership of its stored form. Raises ValueError."""
    fields = json.loads(raw)
    return ConfState(
        voters=tuple(fields.get("voters") or ()),
        learners=tuple(fields.get("learners") or ()),
        voters_outgoing=tuple(fields.get("voters_outgoing") or ()),
        learners_next=tuple(fields.get("learners_next") or ()),
        auto_leave=bool(fields.get("auto_leave", False)),
    )
