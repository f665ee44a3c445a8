"""Key ranges by key: the tree agrees with a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.store.core.intervals import IntervalMap
from sampan.store.core.ranges import FROM_KEY, covers

KEYS = st.binary(min_size=1, max_size=2).map(lambda key: bytes(b % 5 + 97 for b in key))
RANGES = st.tuples(KEYS, KEYS | st.just(FROM_KEY))


@given(st.lists(st.tuples(st.booleans(), RANGES), max_size=60), st.lists(KEYS, max_size=10))
def test_finds_exactly_the_ranges_that_cover_a_key(
    steps: list[tuple[bool, tuple[bytes, bytes]]], probes: list[bytes]
) -> None:
    tree: IntervalMap[tuple[bytes, bytes]] = IntervalMap()
    model: set[tuple[bytes, bytes]] = set()
    for add, each in steps:
        if add:
            tree.add(*each, each)
            model.add(each)
        elif each in model:
            tree.remove(*each)
            model.discard(each)
    assert len(tree) == len(model)
    for key in probes:
        assert sorted(tree.at(key)) == sorted(each for each in model if covers(*each, key))


def test_a_lookup_among_thousands_of_ranges_visits_few() -> None:
    tree: IntervalMap[int] = IntervalMap()
    for number in range(5000):
        tree.add(b"/%05d/" % number, b"/%05d0" % number, number)
    depth = 0
    level = [tree._root]
    while level := [n for node in level if node for n in (node.left, node.right) if n]:
        depth += 1
    assert depth < 60
    assert tree.at(b"/02500/pod") == [2500]
