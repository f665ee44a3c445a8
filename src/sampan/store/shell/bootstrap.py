"""What a member starts as: alone, founding a cluster with others, joining one, or coming back.

The IDs of founders follow from their peer URLs and the cluster's token, so that all of them agree
without a word. A member that joins asks the others who they are and finds itself by its peer URLs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from sampan.base.errors import SampanError
from sampan.store.core.cluster import Member, derive_cluster_id, derive_member_id
from sampan.store.core.greeting import Identity
from sampan.store.pb import peer_pb2
from sampan.store.shell.config import EtcdConfig
from sampan.store.shell.datadir import DataDirError, Membership, read_membership
from sampan.store.shell.peers import ask
from sampan.store.shell.wal_files import holds_nothing
from sampan.wire.grpc.status import RpcError

__all__ = ["BootstrapError", "Origin", "Start", "decide", "founders_of"]

_DEFAULT_TOKEN: Final = "etcd-cluster"
_PROBE_S: Final = 1.0
_JOIN_S: Final = 5.0

_BEGAN: Final = (
    "member {:x} has already been bootstrapped, but the data directory {} is empty: start it with "
    "its old data, or remove the member (`etcdctl member remove`), add it again and use "
    "--initial-cluster-state existing"
)

ClientTls = Callable[[], ssl.SSLContext] | None


class BootstrapError(SampanError):
    """The flags and what the other members say do not fit together."""


class Origin(Enum):
    """Where a member's data comes from.

    ALONE    a new cluster of this member
    FOUNDED  a new cluster of several
    JOINED   an existing cluster, which has this member on its list already
    FOUND    the data directory: the member comes back
    """

    ALONE = "alone"
    FOUNDED = "founded"
    JOINED = "joined"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Start:
    """What was decided; `members` are the founders, or those that the existing cluster named."""

    origin: Origin
    membership: Membership
    members: Sequence[Member] = ()


async def decide(config: EtcdConfig, tls: ClientTls = None) -> Start:
    """Find out what the member starts as. Raises SampanError when that cannot be."""
    found = None if config.memory else read_membership(Path(config.directory))
    if found is not None and not _never_began(config, found):
        return Start(Origin.FOUND, _same_cluster(config, found))
    named = named_members(config)
    if len(named) <= 1 and config.initial_cluster_state == "new":
        return Start(Origin.ALONE, _alone(config))
    if config.initial_cluster_state == "existing":
        return await _join(config, named, tls)
    return await _found(config, named, tls)


def _never_began(config: EtcdConfig, found: Membership) -> bool:
    """Tell whether a member of several crashed before it wrote its first entry or vote.

    It starts as it wanted to; nothing in its data says who the others are.
    """
    if found.cluster_id == derive_cluster_id([found.member_id]):
        return False
    path = Path(config.wal_dir) if config.wal_dir else Path(config.directory) / "member" / "wal"
    return holds_nothing(path)


def named_members(config: EtcdConfig) -> dict[str, tuple[str, ...]]:
    """Return the peer URLs of `--initial-cluster` by name; without that flag this member's."""
    named: dict[str, list[str]] = {}
    for name, url in config.initial_cluster:
        named.setdefault(name, []).append(str(url))
    if not named:
        named[config.name] = [str(url) for url in config.initial_advertise_peer_urls]
    return {name: tuple(sorted(urls)) for name, urls in named.items()}


def _alone(config: EtcdConfig) -> Membership:
    peers = [str(url) for url in config.initial_advertise_peer_urls]
    member_id = derive_member_id(peers, config.initial_cluster_token)
    cluster_id = derive_cluster_id([member_id])
    return Membership(config.name, cluster_id, member_id, config.initial_cluster_token)


def _same_cluster(config: EtcdConfig, found: Membership) -> Membership:
    """Return whose data it is: a member keeps its IDs, whatever flags it is started with.

    But to name another cluster's token is to ask for another cluster's data: DataDirError.
    """
    token = config.initial_cluster_token
    if found.token and token not in (found.token, _DEFAULT_TOKEN):
        raise DataDirError(
            f"data directory {config.directory} belongs to the cluster with token {found.token!r}, "
            f"not to one with {token!r}: use another --data-dir, or the --initial-cluster-token it "
            "was made with"
        )
    return replace(found, name=config.name)


def founders_of(config: EtcdConfig) -> tuple[int, list[Member]]:
    """Return the cluster's ID and its first members by ID, as `--initial-cluster` names them."""
    token = config.initial_cluster_token
    founders = [
        Member(derive_member_id(urls, token), tuple(urls), name)
        for name, urls in named_members(config).items()
    ]
    founders.sort(key=lambda member: member.id)
    return derive_cluster_id([member.id for member in founders]), founders


async def _found(config: EtcdConfig, named: Mapping[str, Sequence[str]], tls: ClientTls) -> Start:
    token = config.initial_cluster_token
    cluster_id, founders = founders_of(config)
    member_id = next(member.id for member in founders if member.name == config.name)
    await _refuse_second_start(config, named, Identity(cluster_id, member_id), tls)
    membership = Membership(config.name, cluster_id, member_id, token)
    return Start(Origin.FOUNDED, membership, founders)


async def _refuse_second_start(
    config: EtcdConfig, named: Mapping[str, Sequence[str]], me: Identity, tls: ClientTls
) -> None:
    """Raise if the others know this member as one that has run already.

    With its data it lost what it had vouched for: to begin anew under the same ID would be to go
    back on that.
    """
    others = [urls for name, urls in named.items() if name != config.name]
    answers = await asyncio.gather(*(_members_of(urls, me, tls, _PROBE_S) for urls in others))
    for answer in answers:
        if answer is None or answer.cluster != me.cluster_id:
            continue
        if any(member.id == me.member_id and member.name for member in answer.members):
            raise BootstrapError(_BEGAN.format(me.member_id, config.directory))


async def _join(config: EtcdConfig, named: Mapping[str, Sequence[str]], tls: ClientTls) -> Start:
    others = [urls for name, urls in named.items() if name != config.name]
    if not others:
        raise BootstrapError(
            "--initial-cluster-state existing needs an --initial-cluster that names the members "
            "there are, beside this one"
        )
    nobody = Identity(0, 0)
    answers = await asyncio.gather(*(_members_of(urls, nobody, tls, _JOIN_S) for urls in others))
    known = next((answer for answer in answers if answer is not None and answer.members), None)
    if known is None:
        urls = ", ".join(url for each in others for url in each)
        raise BootstrapError(f"cannot fetch the cluster's members from its peers: {urls}")
    members = [
        Member(each.id, tuple(sorted(each.peer_urls)), each.name, tuple(each.client_urls))
        for each in known.members
    ]
    _check_same(named, members)
    mine = named[config.name]
    me = next(member for member in members if member.peer_urls == mine)
    if me.name:
        raise BootstrapError(_BEGAN.format(me.id, config.directory))
    token = config.initial_cluster_token
    membership = Membership(config.name, known.cluster, me.id, token)
    return Start(Origin.JOINED, membership, members)


def _check_same(named: Mapping[str, Sequence[str]], members: Sequence[Member]) -> None:
    if len(named) != len(members):
        raise BootstrapError(
            "error validating peerURLs: member count is unequal: --initial-cluster names "
            f"{len(named)}, the cluster has {len(members)} (`etcdctl member list` shows them; a "
            "new member is added with `etcdctl member add` before it starts)"
        )
    known = {member.peer_urls for member in members}
    for name, urls in named.items():
        if tuple(urls) not in known:
            raise BootstrapError(
                f"error validating peerURLs: {name} at {','.join(urls)} is no member of the "
                "cluster: add it with `etcdctl member add` first, under these peer URLs"
            )


async def _members_of(
    urls: Sequence[str], me: Identity, tls: ClientTls, timeout_s: float
) -> peer_pb2.Members | None:
    try:
        answer = await ask(urls, me, "members", tls=tls, timeout_s=timeout_s)
        return peer_pb2.Members.FromString(answer)
    except RpcError:
        return None
