"""What collectors put around the lines of a program, taken off again.

Docker's json-file driver wraps every line in an object, the CRI's logs put moment, stream and a tag
in front of it, and loggers put whole traces into one field, with their line ends escaped.
"""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["uncollected"]

_JSON_FILE: Final = re.compile(r'^\{"log": ?"')
_CRI: Final = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) ([FP]) ?", re.M)
_BEGUN: Final = re.compile(r'"((?:goroutine \d+ |panic: |fatal error: |SIG[A-Z]+: ))')
_ESCAPED: Final = re.compile(r"goroutine \d+ (?:gp=[^\[\n]{1,100} )?\[[^\]\n]{1,200}\]:\\n")


def uncollected(text: str) -> str:
    """Return the text as the program wrote it, as far as that can be told."""
    if _JSON_FILE.match(text):
        text = _unwrapped(text)
    elif _CRI.match(text):
        text = _without_heads(text)
    if _ESCAPED.search(text):
        text = text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
        text = _BEGUN.sub(r'"\n\1', text)
    return text


def _unwrapped(text: str) -> str:
    """Join what the objects hold; a line that is none stays as it is."""
    parts: list[str] = []
    for line in text.split("\n"):
        try:
            found = json.loads(line) if line.startswith("{") else None
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("log"), str):
            parts.append(found["log"])
        elif line:
            parts.append(line + "\n")
    return "".join(parts)


def _without_heads(text: str) -> str:
    """Cut the heads off; a partial line (tag P) goes on in the next one."""
    parts: list[str] = []
    for line in text.split("\n"):
        head = _CRI.match(line)
        parts.append(line[head.end() :] if head else line)
        if head is None or head[1] == "F":
            parts.append("\n")
    return "".join(parts).removesuffix("\n")
