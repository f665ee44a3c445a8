"""Write the Go doctor's table of ports from what Go itself lists.

    python scripts/gotargets.py 1.26=FILE ...   FILE is the output of `go tool dist list -json`

With `--check` nothing is written; the exit code is 1 when the file differs for a release named.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src/sampan/gobuild/data/targets.json"


def port(entry: dict[str, object]) -> list[str]:
    """Return one port as names and marks."""
    marks = [
        mark for mark, key in (("cgo", "CgoSupported"), ("first-class", "FirstClass")) if entry[key]
    ]
    return [str(entry["GOOS"]), str(entry["GOARCH"]), *marks]


def main(words: list[str]) -> int:
    """Merge the releases named into the file."""
    check = "--check" in words
    known = json.loads(TARGET.read_text())["releases"] if TARGET.exists() else {}
    before = dict(known)
    for word in words:
        if "=" in word:
            version, _, path = word.partition("=")
            known[version] = [port(entry) for entry in json.loads(Path(path).read_text())]
    if check:
        return int(known != before)
    order = sorted(known, key=lambda version: [int(part) for part in version.split(".")])
    blocks = [
        f'  "{version}": [\n'
        + ",\n".join("   " + json.dumps(one) for one in known[version])
        + "\n  ]"
        for version in order
    ]
    TARGET.write_text('{\n "releases": {\n' + ",\n".join(blocks) + "\n }\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
