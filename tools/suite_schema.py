"""Write docs/suite.schema.json, which editors check suites with: python tools/suite_schema.py."""

from __future__ import annotations

import json
from pathlib import Path

from mullama_nb.testing.suites.schema import suite_schema

FILE = Path(__file__).parents[1] / "docs" / "suite.schema.json"


def main() -> None:
    """Write it."""
    FILE.write_text(f"{json.dumps(suite_schema(), indent=2)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
