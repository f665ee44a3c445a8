"""Key ranges by the keys that lie in them.

A treap ordered by (start, end) whose nodes know the furthest end below them: a lookup leaves out
every subtree that ends before the key. Add, remove and lookup take O(log n) steps, a lookup one
more for each range found; thousands of ranges are nothing special.

Source: Cormen et al., "Introduction to Algorithms", section 14.3 (interval trees); Aragon and
Seidel, "Randomized Search Trees" (1989).
"""

from __future__ import annotations

from typing import Generic, TypeVar

from sampan.store.core.ranges import FROM_KEY

__all__ = ["IntervalMap"]

V = TypeVar("V")

_Order = tuple[bytes, bool, bytes]
"""start, open end?, end: sorts by start and puts the open range last."""


class _Node(Generic[V]):
    """One range; `reach` is the furthest end in its subtree, None when one is open."""

    __slots__ = ("end", "left", "order", "reach", "right", "start", "value", "weight")

    def __init__(self, order: _Order, value: V) -> None:
        self.order = order
        self.start = order[0]
        self.end: bytes | None = None if order[1] else order[2]
        self.reach = self.end
        self.value = value
        # Any number that an adversary cannot choose keeps the tree flat; it decides no result.
        self.weight = hash(order)
        self.left: _Node[V] | None = None
        self.right: _Node[V] | None = None

    def measure(self) -> None:
        """Bring `reach` in line with the children."""
        reach = self.end
        for child in (self.left, self.right):
            if child is not None and reach is not None:
                reach = None if child.reach is None else max(reach, child.reach)
        self.reach = reach


class IntervalMap(Generic[V]):
    """Values by key range; a range is (key, range_end) as the API writes it, with a range_end."""

    def __init__(self) -> None:
        self._root: _Node[V] | None = None
        self._nodes: dict[tuple[bytes, bytes], _Node[V]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, key: bytes, range_end: bytes) -> V | None:
        """Return the value of exactly this range."""
        node = self._nodes.get((key, range_end))
        return None if node is None else node.value

    def add(self, key: bytes, range_end: bytes, value: V) -> None:
        """Set the value of a range."""
        known = self._nodes.get((key, range_end))
        if known is not None:
            known.value = value
            return
        node = _Node(_order(key, range_end), value)
        self._nodes[key, range_end] = node
        below, above = _split(self._root, node.order)
        self._root = _join(_join(below, node), above)

    def remove(self, key: bytes, range_end: bytes) -> None:
        """Forget a range; KeyError when it is not there."""
        del self._nodes[key, range_end]
        self._root = _without(self._root, _order(key, range_end))

    def values(self) -> list[V]:
        """Return all values, in no particular order."""
        return [node.value for node in self._nodes.values()]

    def at(self, key: bytes) -> list[V]:
        """Return the values of all ranges in which `key` lies, by start of the range."""
        found: list[V] = []
        stack: list[_Node[V]] = []
        node = self._root
        while True:
            while node is not None and (node.reach is None or node.reach > key):
                stack.append(node)
                node = node.left
            if not stack:
                return found
            node = stack.pop()
            if node.start > key:
                # The walk is in order: everything still to come starts later than this.
                return found
            if node.end is None or node.end > key:
                found.append(node.value)
            node = node.right


def _order(key: bytes, range_end: bytes) -> _Order:
    return key, range_end == FROM_KEY, range_end


def _split(node: _Node[V] | None, order: _Order) -> tuple[_Node[V] | None, _Node[V] | None]:
    if node is None:
        return None, None
    if node.order < order:
        node.right, above = _split(node.right, order)
        node.measure()
        return node, above
    below, node.left = _split(node.left, order)
    node.measure()
    return below, node


def _join(below: _Node[V] | None, above: _Node[V] | None) -> _Node[V] | None:
    if below is None:
        return above
    if above is None:
        return below
    if below.weight > above.weight:
        below.right = _join(below.right, above)
        below.measure()
        return below
    above.left = _join(below, above.left)
    above.measure()
    return above


def _without(node: _Node[V] | None, order: _Order) -> _Node[V] | None:
    if node is None:
        return None
    if node.order == order:
        return _join(node.left, node.right)
    if order < node.order:
        node.left = _without(node.left, order)
    else:
        node.right = _without(node.right, order)
    node.measure()
    return node
