import numpy as np
import numpy.typing as npt
import pytest

import configs
from pipeline.roles import class_roles
from pipeline.taxonomy import Taxonomy


def named(taxonomy: Taxonomy, flags: npt.NDArray[np.bool_]) -> set[str]:
    return {n for n, f in zip(taxonomy.class_names, flags, strict=True) if f}


def test_cityscapes_roles() -> None:
    city = Taxonomy.load("cityscapes")
    roles = class_roles(city)
    assert named(city, roles.frozen) == {
        "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic",
        "license plate",
    }  # fmt: skip
    assert {"road", "parking", "rail track", "bridge", "polegroup", "ground", "sky"} <= named(
        city, roles.surface
    )
    assert named(city, roles.support[26]) == {"road", "parking", "ground"}
    assert not roles.support[7].any()


@pytest.mark.parametrize("name", configs.names("taxonomies"))
def test_every_class_of_every_taxonomy_has_one_role(name: str) -> None:
    taxonomy = Taxonomy.load(name)
    roles = class_roles(taxonomy)
    parts = roles.surface.astype(int) + roles.frozen + taxonomy.is_thing
    assert (parts == 1).all()
    assert not (roles.frozen & ~taxonomy.is_void).any()


def test_what_lies_flat_was_built_or_grew() -> None:
    city = Taxonomy.load("cityscapes")
    roles = class_roles(city)
    assert named(city, roles.ground) == {
        "ground", "road", "sidewalk", "parking", "rail track", "terrain",
    }  # fmt: skip
    assert {"building", "wall", "fence"} <= named(city, roles.built)
    assert named(city, roles.grown) == {"vegetation"}
    ade = Taxonomy.load("ade20k")  # has no categories
    roles = class_roles(ade)
    assert {"building", "house", "wall"} <= named(ade, roles.built)
    assert {"tree", "plant"} <= named(ade, roles.grown)
    assert {"road", "grass", "floor"} <= named(ade, roles.ground)
    assert "sky" not in named(ade, roles.ground)


@pytest.mark.parametrize("name", configs.names("taxonomies"))
def test_no_class_has_two_kinds_of_shape(name: str) -> None:
    roles = class_roles(Taxonomy.load(name))
    kinds = roles.ground.astype(int) + roles.built + roles.grown
    assert kinds.max() <= 1
    assert not (kinds.astype(bool) & ~roles.surface).any()


def test_what_edits_cover_of_void_and_which_things_have_sides() -> None:
    city = Taxonomy.load("cityscapes")
    roles = class_roles(city)
    assert named(city, roles.clutter) == {"unlabeled", "static", "dynamic", "license plate"}
    assert named(city, roles.frozen & ~roles.clutter) == {
        "ego vehicle", "rectification border", "out of roi",
    }  # fmt: skip
    assert {"car", "bus", "bicycle", "motorcycle"} <= named(city, roles.sided)
    assert not {"person", "rider"} & named(city, roles.sided)
    np.testing.assert_array_equal(roles.thing, city.is_thing)


def test_plain_void_belongs_to_the_frame() -> None:
    nothing = {"id": 0, "name": "nothing", "color": [0, 0, 0], "void": True}
    plain = {"name": "small", "version": 1, "classes": [nothing]}
    roles = class_roles(Taxonomy.parse(plain, origin="test"))
    assert roles.frozen.tolist() == [True]
    assert roles.clutter.tolist() == [False]
