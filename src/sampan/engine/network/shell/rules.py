"""The engine's packet rules in the kernel. Blocks; one thread only."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from sampan.engine.network.core import ruleset
from sampan.engine.network.core.conntrack import delete_flow, flow_to, list_flows
from sampan.engine.network.core.model import NetworkRecord
from sampan.engine.network.core.netlink import Message
from sampan.engine.network.core.nftables import (
    IPV4,
    IPV6,
    Elements,
    batch,
    delete_rule,
    delete_table,
    elements,
    find_chain,
    insert_rule,
    list_rules,
    parse_policy,
    parse_rule,
)
from sampan.engine.network.shell.netlink import NETFILTER, NetlinkError, NetlinkSocket

__all__ = ["PacketRules"]

_LOG = logging.getLogger(__name__)
_FLOWS_AT_ONCE: Final = 64
_FILTER, _FORWARD, _NOTE = "filter", "FORWARD", "sampan "


class PacketRules:
    """The tables of `families`; none of them when there are no families.

    `make_anew` is called when they are found to be gone: `nft flush ruleset` takes all tables.
    """

    def __init__(self, families: Collection[int]) -> None:
        self._families = families
        self._filter: NetlinkSocket | None = None
        self.make_anew: Callable[[], None] = lambda: None
        self._bridges: set[str] = set()
        self._passing: set[int] = set()

    def close(self) -> None:
        """Close the socket; the rules stay."""
        if self._filter is not None:
            self._filter.close()
            self._filter = None

    @property
    def in_force(self) -> bool:
        """Tell whether there are rules."""
        return self._filter is not None

    def leads(self, version: int) -> bool:
        """Tell whether packet rules lead published ports of an IP version to containers."""
        family = {4: IPV4, 6: IPV6}[version]
        return self._filter is not None and family in self._families

    def make(self, records: Sequence[NetworkRecord], ports: Sequence[tuple[int, Elements]]) -> bool:
        """Put all packet rules in place at once, instead of what was there.

        Returns False without nf_tables, and without --iptables: then what was there goes.
        """
        if self._filter is None:
            self._filter = NetlinkSocket(NETFILTER)
        try:
            for family in ruleset.FAMILIES:
                if family not in self._families:
                    self._filter.transact(batch(delete_table(ruleset.TABLE, family)))
            if self._families:
                self._make_tables(records, ports)
                return True
        except OSError as error:
            _LOG.warning("no packet rules, ports are published by copying: %s", error)
        self.close()
        return False

    def _make_tables(
        self, records: Sequence[NetworkRecord], ports: Sequence[tuple[int, Elements]]
    ) -> None:
        assert self._filter is not None
        for replace in (False, True):
            commands = ruleset.whole(self._families, records, ports, replace=replace)
            try:
                self._filter.transact(batch(commands))
            except NetlinkError as error:
                if error.errno != errno.EEXIST or replace:
                    raise
            else:
                return

    def change(self, changes: Sequence[tuple[int, Elements]], *, remove: bool = False) -> None:
        """Add elements to the maps, or remove them; all or none."""
        changes = [one for one in changes if one[0] in self._families]
        if self._filter is None or not changes:
            return
        commands: list[Message] = []
        for family, change in changes:
            commands += elements(ruleset.TABLE, family, change, remove=remove)
        try:
            self._filter.transact(batch(commands))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            if remove:
                self._remove_one_by_one(changes)
            else:
                _LOG.warning("another program has removed the packet rules: they are made anew")
                self.make_anew()
                self._filter.transact(batch(commands))

    def _remove_one_by_one(self, changes: Sequence[tuple[int, Elements]]) -> None:
        """Remove those elements that are there."""
        assert self._filter is not None
        for family, change in changes:
            for item in change.items:
                one = elements(ruleset.TABLE, family, Elements(change.map, (item,)), remove=True)
                try:
                    self._filter.transact(batch(one))
                except NetlinkError as error:
                    if error.errno != errno.ENOENT:
                        raise

    def let_pass(self, bridges: Collection[str]) -> None:
        """Let the packets of bridges pass where other programs drop what is forwarded.

        That is the chain FORWARD of iptables with the policy DROP, which dockerd gives it. The rest
        of that chain is no business of the engine.
        """
        self._bridges = set(bridges)
        for family in self._families:
            self._let_pass(family)

    def check_passage(self) -> None:
        """Do as `let_pass` if another program has begun to drop since; takes microseconds."""
        for family in self._families:
            if family not in self._passing and self._drops(family):
                self._let_pass(family)

    def _drops(self, family: int) -> bool:
        if self._filter is None:
            return False
        try:
            return parse_policy(self._filter.ask(find_chain(_FILTER, family, _FORWARD))) == "drop"
        except OSError:
            return False

    def _let_pass(self, family: int) -> None:
        drops = self._drops(family)
        wanted = self._bridges if drops else set()
        commands: list[Message] = []
        there: set[str] = set()
        for handle, comment in self._foreign_rules(family):
            bridge = comment.removeprefix(_NOTE)
            there.add(bridge)
            if bridge not in wanted:
                commands.append(delete_rule(_FILTER, family, _FORWARD, handle))
        for bridge in sorted(wanted - there):
            commands += [
                insert_rule(_FILTER, family, _FORWARD, rule, _NOTE + bridge)
                for rule in ruleset.passage_rules(bridge)
            ]
        try:
            if commands and self._filter is not None:
                self._filter.transact(batch(commands))
        except OSError as error:
            _LOG.warning("what is forwarded is dropped by another program's rules: %s", error)
        if drops:
            self._passing.add(family)
        else:
            self._passing.discard(family)

    def _foreign_rules(self, family: int) -> list[tuple[int, str]]:
        """Return handles and comments of the engine's rules in the other program's chain."""
        if self._filter is None:
            return []
        try:
            found = self._filter.dump(list_rules(_FILTER, family, _FORWARD))
        except OSError:
            return []
        return [one for one in map(parse_rule, found) if one[1].startswith(_NOTE)]

    def forget_flows(self, udp_ports: Collection[int]) -> None:
        """Let flows of datagrams to ports of the host begin anew, by the rules of now."""
        if self._filter is None or not udp_ports:
            return
        try:
            found = [flow_to(one, udp_ports) for one in self._filter.dump(list_flows())]
            flows = [delete_flow(one) for one in found if one is not None]
            for at in range(0, len(flows), _FLOWS_AT_ONCE):
                batch_ = flows[at : at + _FLOWS_AT_ONCE]
                self._filter.change(batch_, tolerate=(errno.ENOENT,))
        except OSError as error:
            _LOG.debug("flows of datagrams stay as they are: %s", error)
