import numpy as np
import pytest

from eval.measures.variants import find_variants


def row(index: int, label: str, status: str = "ok") -> dict[str, object]:
    return {"index": index, "status": status, "label_sha256": label, "instance_sha256": "i"}


def test_variants_are_good_samples_with_the_same_maps() -> None:
    rows = [row(0, "a"), row(1, "b"), row(2, "a"), row(3, "b", "failed"), row(4, "a"), row(5, "c")]
    assert find_variants(rows) == [[0, 2, 4]]
    assert find_variants(rows, most=2) == [[0, 2]]
    assert find_variants(rows[:2]) == []


@pytest.mark.parametrize("maps", [1, 3, 10])
def test_label_maps_are_spread_over_the_run(maps: int) -> None:
    rows = [row(k, str(k // 2)) for k in range(16)]
    found = [group[0] // 2 for group in find_variants(rows, maps=maps)]
    assert found == sorted(set(np.arange(maps) * 8 // maps))
