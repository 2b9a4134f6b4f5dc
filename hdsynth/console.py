"""What commands show on stdout."""

import json
import sys
from typing import Any

from rich.console import Console

stdout = Console(highlight=False)


def print_json(data: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Print one JSON object, and nothing else, on stdout."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()
