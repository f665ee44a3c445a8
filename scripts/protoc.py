"""Generate the protobuf modules from the .proto files beside them.

`python scripts/protoc.py` writes them; `--check` writes nothing and fails when one is out of date.
The generated messages live in a descriptor pool of Sampan's own, so that a program may import both
Sampan and another library with the same message names: an etcd client, grpcio's health package.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
DEFAULT_POOL = "_descriptor_pool.Default()"
OWN_POOL = "_descriptor_pool"


def main() -> int:
    """Generate all modules; return the exit code."""
    check = "--check" in sys.argv[1:]
    protos = sorted(SOURCE.glob("**/pb/*.proto"))
    stale: list[Path] = []
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        arguments = [f"-I{SOURCE}", f"--python_out={out}", f"--pyi_out={out}", *map(str, protos)]
        if protoc.main(["protoc", *arguments]) != 0:
            return 1
        for made in sorted([*out.glob("**/*_pb2.py"), *out.glob("**/*_pb2.pyi")]):
            text = own_pool(made.read_text())
            target = SOURCE / made.relative_to(out)
            if not target.exists() or target.read_text() != text:
                stale.append(target.relative_to(ROOT))
                if not check:
                    target.write_text(text)
    for path in stale:
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path}\n")
    return 1 if check and stale else 0


def own_pool(text: str) -> str:
    """Return the generated module with the shared pool replaced by Sampan's own."""
    return text.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool\n",
        "from sampan.wire.protobuf import POOL as _descriptor_pool\n",
    ).replace(DEFAULT_POOL, OWN_POOL)


if __name__ == "__main__":
    sys.exit(main())
