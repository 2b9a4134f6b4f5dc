"""Photos must show what programs bring in."""

import pytest

from hdmodel.errors import ConfigError
from pipeline.config import PhotoConfig
from pipeline.editing.program import Paste, Program, Replace
from pipeline.exemplars.catalogue import Catalogue
from pipeline.indexing.record import index_scene
from pipeline.rendering.shown import check_shown
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.scenes import BICYCLE, street, with_cyclist

CITY = Taxonomy.load("cityscapes")
BRING = {"donor": "b", "donor_instance": 25000, "donor_along": (33000,)}


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize(
    "operation", [Paste(**BRING, row=110, column=20), Replace(instance=26000, **BRING)]
)
def test_what_comes_along_must_be_shown_too(operation: Paste | Replace, shown: bool) -> None:
    cyclist = with_cyclist(street("b", height=128, width=256), 80, 60)
    label, instance = cyclist.label.copy(), cyclist.instance.copy()
    if not shown:
        there = label == BICYCLE
        label[there] = instance[there] = 7
    records = [
        index_scene(scene, CITY)
        for scene in (street("a", height=128, width=256), Scene("b", label, instance))
    ]
    sample = Program(scene="a", operations=(operation,)), records[0]
    catalogue, photo = Catalogue.of(records), PhotoConfig(mode="exemplar")
    if shown:
        check_shown([sample], catalogue, photo=photo, generator=False, taxonomy=CITY)
        return
    with pytest.raises(ConfigError, match="need pixels of 'bicycle'"):
        check_shown([sample], catalogue, photo=photo, generator=False, taxonomy=CITY)
