"""Taking names and images away, one at a time or all that nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sampan.base.errors import ConflictError
from sampan.images.core.platform import Platform
from sampan.images.core.reference import parse_reference
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore, names_meant
from sampan.images.shell.thread import in_thread

__all__ = ["Users", "prune_images", "remove_image", "remove_platforms"]

Users = Callable[[str], Sequence[str]]
"""Returns the short ids of containers of an image, those that run marked by a "!"."""


async def remove_image(
    store: ImageStore, text: str, users: Users, *, force: bool
) -> list[dict[str, str]]:
    """Remove a name, and with the last one the image; returns what went.

    Raises NotFoundError, and ConflictError while containers or other names are in the way.
    """
    async with store.changing():
        gone = await _remove(store, text, users, force)
        await store.collect()
    return gone


async def _remove(store: ImageStore, text: str, users: Users, force: bool) -> list[dict[str, str]]:
    entry = store.find(text)
    # A name may look like the beginning of an id: what is a name is never taken for one.
    meant = names_meant(text, entry)
    by_id = not meant
    names = meant or [*entry.tags, *entry.digests]
    holders = list(users(entry.id))
    children = [one for one in store.index.entries() if one.parent == entry.id]
    if by_id:
        _check_by_id(entry, holders, force)
        if children:
            raise ConflictError(
                f"conflict: unable to delete {_short(entry.id)} (cannot be forced) - image has "
                "dependent child images"
            )
    last = by_id or len(entry.tags) <= len([one for one in names if "@" not in one])
    if last and not by_id and holders and not force:
        raise ConflictError(
            f'conflict: unable to remove repository reference "{text}" (must force) - '
            f"container {holders[0].lstrip('!')} is using its referenced image {_short(entry.id)}"
        )
    gone = []
    for name in dict.fromkeys([*names, *(entry.digests if last else ())]):
        store.index.unname(name)
        gone.append({"Untagged": parse_reference(name).familiar})
        store.event("untag", entry.id, entry)
    # What a container runs, and what others are built upon, stays without a name.
    if not entry.tags and not children and not any(one.startswith("!") for one in holders):
        for one in store.index.family(entry):
            if one is entry or not (one.tags or users(one.id)):
                gone += await _drop(store, one)
        gone += await _drop_parents(store, entry, users)
    return gone


async def _drop_parents(store: ImageStore, entry: Entry, users: Users) -> list[dict[str, str]]:
    """Forget those without a name that only stayed for the sake of what has gone."""
    gone: list[dict[str, str]] = []
    entries = {one.id: one for one in store.index.entries()}
    parent = entries.pop(entry.parent, None)
    while parent is not None and not parent.tags and not users(parent.id):
        if any(one.parent == parent.id for one in entries.values()):
            break
        gone += await _drop(store, parent)
        parent = entries.pop(parent.parent, None)
    return gone


def _check_by_id(entry: Entry, holders: Sequence[str], force: bool) -> None:
    short = _short(entry.id)
    for holder in holders:
        name = holder.lstrip("!")
        if holder.startswith("!"):
            raise ConflictError(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used "
                f"by running container {name}"
            )
        if not force:
            raise ConflictError(
                f"conflict: unable to delete {short} (must be forced) - image is being used "
                f"by stopped container {name}"
            )
    repositories = {name.rpartition(":")[0] for name in entry.tags}
    if len(repositories) > 1 and not force:
        raise ConflictError(
            f"conflict: unable to delete {short} (must be forced) - image is referenced in "
            "multiple repositories"
        )


async def _drop(store: ImageStore, entry: Entry) -> list[dict[str, str]]:
    """Forget an image; returns it and those of its layers that no other has."""
    store.event("delete", entry.id, entry)
    store.index.drop(entry.id)
    chains = await in_thread(_chains_of_its_own, entry, store.index.entries())
    return [{"Deleted": entry.id}, *({"Deleted": one} for one in reversed(chains))]


def _chains_of_its_own(entry: Entry, others: Sequence[Entry]) -> list[str]:
    used = {chain for one in others for chain in one.chains()}
    return [chain for chain in entry.chains() if chain not in used]


async def remove_platforms(
    store: ImageStore, text: str, platforms: Sequence[Platform], users: Users, *, force: bool
) -> list[dict[str, str]]:
    """Remove some platforms of what a name stands for; the name goes with the last of them.

    Raises as `remove_image` does, and NotFoundError for a platform that is not here.
    """
    gone = []
    async with store.changing():
        chosen = {one.id: one for one in (store.find(text, platform) for platform in platforms)}
        for entry in chosen.values():
            rest = [one for one in store.index.family(entry) if one.id not in chosen]
            if not rest:
                gone += await _remove(store, text, users, force)
                break
            _check_by_id(entry, users(entry.id), force)
            for name in (*entry.tags, *entry.digests):
                store.index.name(rest[0], name)
            gone += await _drop(store, entry)
        await store.collect()
    return gone


async def prune_images(
    store: ImageStore, chosen: Callable[[Entry], bool], users: Users
) -> tuple[list[dict[str, str]], int]:
    """Remove every chosen image that no container uses; returns what went, and bytes freed."""
    gone = []
    async with store.changing():
        for entry in store.index.entries():
            if chosen(entry) and not users(entry.id):
                gone += [{"Untagged": parse_reference(one).familiar} for one in entry.tags]
                gone += await _drop(store, entry)
        freed = await store.collect() + await in_thread(store.content.forget_partial)
    return gone, freed


def _short(id_: str) -> str:
    return id_.removeprefix("sha256:")[:12]
