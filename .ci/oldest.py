"""The oldest versions of the dependencies that pyproject.toml allows, one requirement a line."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def oldest(requirement: str) -> str:
    """The requirement with its lower bound as the only version: "jax>=0.8,<0.11" is "jax==0.8"."""
    found = re.fullmatch(r"([\w.-]+(?:\[[\w,-]+\])?)>=([^,;\s]+)(?:,[^;]*)?", requirement)
    if found is None:
        raise SystemExit(f"{requirement!r} has no lower bound; write it as name>=version.")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
        print(oldest(requirement))
