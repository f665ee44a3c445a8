"""The document of what Dockerfiles may say keeps up with the parser."""

from __future__ import annotations

import re

from tests.real import ROOT

from sampan.dockerfile.parse import FLAGS, KEYWORDS
from sampan.dockerfile.rules import RULES


def test_the_table_lists_every_instruction_with_its_flags() -> None:
    text = (ROOT / "docs" / "compat" / "dockerfile.md").read_text()
    told = {}
    for row in re.findall(r"^\| `([A-Z]+)` \| (.*?) \|", text, re.MULTILINE):
        told[row[0]] = set(re.findall(r"`--([a-z-]+)`", row[1]))
    assert told == {keyword: set(FLAGS.get(keyword, ())) for keyword in KEYWORDS}


def test_the_table_of_checks_lists_every_rule() -> None:
    text = (ROOT / "docs" / "compat" / "dockerfile.md").read_text()
    assert set(re.findall(r"^\| `([A-Z]\w*[a-z]\w*)` \|", text, re.MULTILINE)) == set(RULES)
