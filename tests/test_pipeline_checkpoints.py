import logging
from pathlib import Path

import pytest

from hdmodel.architecture import GeneratorConfig
from hdmodel.checkpoint import read_checkpoint_config
from hdmodel.initialise import init_checkpoint
from hdmodel.styles import load_styles
from pipeline.checkpoints import bundled_checkpoint, choose_checkpoint, taxonomy_record
from pipeline.errors import TaxonomyError
from pipeline.prepare import prepare
from pipeline.taxonomy import Taxonomy
from tests.datasets import write_checkpoint, write_cityscapes
from tests.test_pipeline_run import job


def test_the_bundled_checkpoint_is_for_cityscapes() -> None:
    taxonomy = Taxonomy.load("cityscapes")
    assert choose_checkpoint(None, taxonomy) == bundled_checkpoint()
    config = read_checkpoint_config(bundled_checkpoint())
    assert config.taxonomy == taxonomy_record(taxonomy)
    assert sum(f.stat().st_size for f in bundled_checkpoint().iterdir()) < 25e6
    car = taxonomy.class_names.index("car")
    assert len(load_styles(bundled_checkpoint()).modes(car)) == 10


def test_the_bundled_checkpoint_is_named_in_plain_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = write_cityscapes(tmp_path / "world")
    with caplog.at_level(logging.INFO, logger="hdsynth.render"):
        prepare(job(world, tmp_path, tmp_path / "out", generator={"checkpoint": None}))
    assert "bundled demo checkpoint" in caplog.text


def test_an_untrained_generator_is_called_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = write_cityscapes(tmp_path / "world")
    untrained = init_checkpoint(
        GeneratorConfig(base_channels=4, downsamplings=2, blocks=1),
        taxonomy=taxonomy_record(Taxonomy.load("cityscapes")),
        seed=0,
        to=tmp_path / "untrained",
    )
    with caplog.at_level(logging.WARNING, logger="hdsynth.render"):
        prepare(job(world, untrained, tmp_path / "out"))
    assert "is untrained, its photos will be noise" in caplog.text


def test_other_taxonomies_need_a_generator() -> None:
    with pytest.raises(TaxonomyError, match=r"no generator given.*camvid.*--generator"):
        choose_checkpoint(None, Taxonomy.load("camvid"))


def test_a_generator_of_another_taxonomy_is_refused_with_the_difference(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", taxonomy="camvid")
    with pytest.raises(TaxonomyError, match="12 classes against 35"):
        choose_checkpoint(checkpoint, Taxonomy.load("cityscapes"))
    renamed = Taxonomy.load("camvid").to_plain()
    renamed["classes"][3]["name"] = "asphalt"
    renamed["support"] = {}
    with pytest.raises(TaxonomyError, match="class 3 is 'road' against 'asphalt'"):
        choose_checkpoint(checkpoint, Taxonomy.parse(renamed, origin="test"))
