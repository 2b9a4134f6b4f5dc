"""Reading whole plans."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.planning.plan import PlanRow, count_shards, read_shard_plan


def read_plan(path: Path) -> Iterator[PlanRow]:
    """All rows, shard by shard."""
    for shard in range(count_shards(path)):
        yield from read_shard_plan(path, shard)
