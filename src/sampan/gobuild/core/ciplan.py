"""The script of a workflow's first job: which of the allowed targets this run builds.

It takes what people typed from the environment only, compares it with the targets that were
checked when the workflow was written, and passes on nothing but those.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Final

from sampan.gobuild.core.levels import LEVEL_OPTIONS
from sampan.gobuild.core.targetlist import chosen_targets, picked_targets, split_list

__all__ = ["plan_script"]

_PLANNED: Final = """
def listed(name):
    return split_list(os.environ.get(name, ""), OPTIONS)


wanted = (listed("TARGETS") or DEFAULT) + listed("INCLUDE")
try:
    names = chosen_targets(wanted, listed("EXCLUDE"), [cell["target"] for cell in CELLS])
except ValueError as error:
    sys.exit(f"plan: {error}")
cells = [cell for cell in CELLS if cell["target"] in names]
if len(cells) > LIMIT:
    sys.exit(f"plan: {len(cells)} targets, and a matrix has at most {LIMIT}: exclude some")
print("plan:", *names, file=sys.stderr)
"""


def plan_script(
    cells: Sequence[Mapping[str, str]], default: Sequence[str], limit: int, emit: str
) -> list[str]:
    """Return the lines of a Python script that checks the wanted targets, then runs `emit`.

    `emit` finds the cells to build in `cells`; `default` is built when nothing is asked for, and
    `limit` is how many cells the service takes.
    """
    functions = (split_list, picked_targets, chosen_targets)
    parts = [
        "from __future__ import annotations\n",
        "import fnmatch\nimport json\nimport os\nimport sys\n",
        "CELLS = [",
        *(f"    {json.dumps(dict(cell))}," for cell in cells),
        "]",
        f"DEFAULT = {json.dumps(list(default))}",
        f"OPTIONS = {json.dumps(list(LEVEL_OPTIONS))}",
        f"LIMIT = {limit}",
        *(f"\n\n{inspect.getsource(one).rstrip()}" for one in functions),
        f"\n{_PLANNED.rstrip()}",
        emit,
    ]
    return "\n".join(parts).split("\n")
