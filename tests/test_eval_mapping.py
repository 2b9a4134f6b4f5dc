import numpy as np
import pytest

from eval.confusion import VOID
from eval.errors import EvalError
from eval.mapping import ClassMapping
from pipeline.taxonomy import Taxonomy


def taxonomy(*classes: tuple[str, int], name: str = "made") -> Taxonomy:
    rows = [
        {"id": k, "name": label, "color": [k, k, k], "train_id": train_id}
        for k, (label, train_id) in enumerate(classes)
    ]
    return Taxonomy.parse({"name": name, "version": 1, "classes": rows}, origin="test")


def test_a_taxonomy_and_itself_share_its_train_ids() -> None:
    city = Taxonomy.load("cityscapes")
    mapping = ClassMapping.between(city, city)
    assert mapping.num_classes == 19
    assert mapping.names[:3] == ("road", "sidewalk", "building")
    np.testing.assert_array_equal(mapping.target_table, city.train_ids)
    np.testing.assert_array_equal(mapping.prediction_table[:19], np.arange(19))
    assert (mapping.prediction_table[19:] == VOID).all()
    assert [mapping.names[k] for k in mapping.things][:3] == ["person", "rider", "car"]
    assert mapping.unscored == mapping.unasked == ()


def test_classes_are_matched_by_name_not_by_number() -> None:
    data = taxonomy(("void", 255), ("car", 0), ("tree", 1), ("sky", 2))
    scorer = taxonomy(("sky", 0), ("boat", 1), ("car", 2))
    mapping = ClassMapping.between(data, scorer)
    assert mapping.names == ("car", "sky")
    np.testing.assert_array_equal(mapping.target_table, [VOID, 0, VOID, 1])
    np.testing.assert_array_equal(mapping.prediction(np.array([0, 1, 2, 255], np.uint8)),
                                  [1, VOID, 0, VOID])  # fmt: skip
    assert mapping.unscored == ("tree",)
    assert mapping.unasked == ("boat",)


def test_several_classes_of_the_scorer_may_stand_for_one_of_the_data() -> None:
    data = taxonomy(("car", 0), ("truck", 0), ("sky", 1))
    scorer = taxonomy(("car", 0), ("truck", 1), ("sky", 2))
    mapping = ClassMapping.between(data, scorer)
    np.testing.assert_array_equal(mapping.prediction_table[:3], [0, 0, 1])
    with pytest.raises(EvalError, match="'car' stands for both 'car' and 'truck'"):
        ClassMapping.between(scorer, data)


def test_nothing_in_common_is_refused_with_what_there_is() -> None:
    with pytest.raises(EvalError, match=r"no class in common: .* predicts a, .* hold c$"):
        ClassMapping.between(taxonomy(("c", 0), ("a", 255)), taxonomy(("a", 0), ("c", 255)))
