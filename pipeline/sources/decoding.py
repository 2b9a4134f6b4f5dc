"""Decoding: from the numbers in dataset files to class ids and Cityscapes' instance encoding."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from pipeline.scene import (
    INSTANCES_PER_CLASS,
    InstanceMap,
    LabelMap,
    encode_indices,
    stuff_instances,
)
from pipeline.sources.source import Problem
from pipeline.taxonomy import MAX_CLASSES, Taxonomy

INSTANCE_IDS = MAX_CLASSES * INSTANCES_PER_CLASS
VALUES_SHOWN = 5

IntegerMap = npt.NDArray[np.integer]


def decode_label(
    values: IntegerMap, taxonomy: Taxonomy, *, file: str
) -> tuple[LabelMap, list[Problem]]:
    """Turn a label file's numbers into class ids.

    Args:
        values: The file's content, any integer dtype [H, W].
        taxonomy: Gives the numbers their meaning.
        file: The file's name, for problems.

    Returns:
        Class ids [H, W], and at most one problem: numbers that stand for no class.
    """
    label, unknown = taxonomy.encode(values)
    if not unknown:
        return label, []
    counted = tuple((value, int(np.count_nonzero(values == value))) for value in unknown[:1000])
    shown = ", ".join(
        f"{value} ({pixels} {_plural(pixels, 'pixel')})" for value, pixels in counted[:VALUES_SHOWN]
    )
    more = f" and {len(unknown) - VALUES_SHOWN} more" if len(unknown) > VALUES_SHOWN else ""
    noun = _plural(len(unknown), "label value")
    message = (
        f"{noun} {shown}{more}: not in taxonomy {taxonomy.name!r}, which knows "
        f"{_ranges(sorted(taxonomy.ids_by_value))}"
    )
    return label, [Problem(file, "value", message, counted)]


def decode_instances(
    values: IntegerMap, label: LabelMap, taxonomy: Taxonomy, *, file: str
) -> tuple[InstanceMap, list[Problem], list[Problem]]:
    """Turn Cityscapes-coded instance numbers (in dataset classes) into our instance map.

    Where number and label disagree, the label map is taken: the pixel becomes crowd or stuff.
    Numbers below 1000 are classes without single objects; 0 says nothing about a pixel.

    Args:
        values: The file's content, any integer dtype [H, W].
        label: Class ids [H, W].
        taxonomy: The taxonomy of the label map.
        file: The file's name, for problems.

    Returns:
        Instance ids [H, W]; errors: numbers at least half of whose pixels lie on another class;
        warnings: smaller disagreements.
    """
    low, high = min(0, int(values.min())), max(0, int(values.max()))
    if high >= INSTANCE_IDS or low < -INSTANCE_IDS:
        worst = high if high >= INSTANCE_IDS else low
        message = (
            f"instance id {worst}: expected class*1000 + k, at most {INSTANCE_IDS - 1}; for maps "
            "that number the objects of an image set instance_coding: index"
        )
        pixels = int(np.count_nonzero(values == worst))
        error = Problem(file, "instance", message, ((worst, pixels),))
        return stuff_instances(label), [error], []
    class_of, instance_of = _instance_tables(low, high, taxonomy)
    position = values if low == 0 else values.astype(np.int64) - low
    instance = instance_of[position]
    wrong = class_of[position] != label
    wrong &= values != 0
    instance[wrong | (values == 0)] = 0
    unsaid = instance == 0
    instance[unsaid] = label[unsaid]
    if not wrong.any():
        return instance, [], []
    errors, warnings = _disagreements(values, label, wrong, taxonomy, file)
    return instance, errors, warnings


def decode_indices(
    values: IntegerMap, label_values: IntegerMap, label: LabelMap, taxonomy: Taxonomy
) -> InstanceMap:
    """Turn a per-image object index (COCO-Stuff) into our instance map.

    Such maps number the objects from 0 and repeat the label file's number everywhere else. An
    object is of the class most of its thing pixels carry. What remains is crowd: its slivers on
    other classes (outlines differ by some pixels), and things' pixels that carry their own label
    number, beyond the last number in use for objects.

    Args:
        values: The instance file's content, any integer dtype [H, W].
        label_values: The label file's content, any integer dtype [H, W].
        label: Class ids [H, W].
        taxonomy: The taxonomy of the label map.
    """
    pieces = encode_indices(values, label, taxonomy)
    things = taxonomy.is_thing[label]
    repeated = things & (values == label_values)
    objects = np.unique(values[things & ~repeated])
    last_object = int(objects[-1]) if objects.size else -1
    single = (pieces >= INSTANCES_PER_CLASS) & ~(repeated & (values > last_object + 1))
    ids, first, inverse, areas = np.unique(
        pieces[single], return_index=True, return_inverse=True, return_counts=True
    )
    main = _largest_piece(values[single][first], areas)
    classes = ids[main] // INSTANCES_PER_CLASS
    rank = np.arange(len(classes)) - np.searchsorted(classes, classes)
    table = ids // INSTANCES_PER_CLASS
    table[main] = classes * INSTANCES_PER_CLASS + rank
    instance = stuff_instances(label)
    instance[single] = table[inverse]
    return instance


def _largest_piece(index: IntegerMap, areas: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """The positions of the largest piece of each index (the first one of equals), sorted."""
    order = np.lexsort((-areas, index))
    _, first = np.unique(index[order], return_index=True)
    return np.sort(order[first])


def _instance_tables(
    low: int, high: int, taxonomy: Taxonomy
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """For every number from low to high the class it names (-1: none) and our instance id."""
    numbers = np.arange(low, high + 1, dtype=np.int32)
    single = numbers >= INSTANCES_PER_CLASS
    named = np.where(single, numbers // INSTANCES_PER_CLASS, numbers)
    class_of = np.full(numbers.shape, -1, np.int32)
    for value, class_id in taxonomy.ids_by_value.items():
        class_of[named == value] = class_id
    for value, class_id in taxonomy.ids_by_value.items():
        # A stuff class may have a large number of its own, such as 65535 for -1 in 16 bits.
        if INSTANCES_PER_CLASS <= value <= high and not taxonomy.is_thing[class_id]:
            class_of[value - low] = class_id
    objects = single & (class_of >= 0) & taxonomy.is_thing[class_of]
    instance_of = np.where(
        objects, class_of * INSTANCES_PER_CLASS + numbers % INSTANCES_PER_CLASS, class_of
    )
    return class_of, instance_of.astype(np.int32)


def _disagreements(
    values: IntegerMap,
    label: LabelMap,
    wrong: npt.NDArray[np.bool_],
    taxonomy: Taxonomy,
    file: str,
) -> tuple[list[Problem], list[Problem]]:
    numbers, pixels = np.unique(values[wrong], return_counts=True)
    errors: list[Problem] = []
    minor: Counter[int] = Counter()
    for number, count in zip(numbers.tolist(), pixels.tolist(), strict=True):
        here = values == number
        total = int(np.count_nonzero(here))
        if 2 * count < total:
            minor[number] = count
            continue
        classes = np.bincount(label[here & wrong])
        found = taxonomy.classes[int(classes.argmax())]
        message = (
            f"instance id {number}: {count} of its {total} {_plural(total, 'pixel')} lie on "
            f"another class in the label map (mostly {found.id} {found.name!r}); "
            f"{_meaning(number, taxonomy)}"
        )
        errors.append(Problem(file, "instance", message, ((number, count),)))
    if not minor:
        return errors, []
    (number, _), *_ = minor.most_common(1)
    amount, kinds = minor.total(), len(minor)
    message = (
        f"{amount} {_plural(amount, 'pixel')} of {kinds} instance {_plural(kinds, 'id')} (mostly "
        f"{number}) lie on another class in the label map; the label map is taken"
    )
    return errors, [Problem(file, "instance", message, tuple(minor.most_common()))]


def _meaning(number: int, taxonomy: Taxonomy) -> str:
    value = number // INSTANCES_PER_CLASS if number >= INSTANCES_PER_CLASS else number
    class_id = taxonomy.ids_by_value.get(value)
    if class_id is None:
        return f"taxonomy {taxonomy.name!r} has no class {value} for it"
    return f"expected {taxonomy.classes[class_id].name!r} ({value}) under it"


def _ranges(values: list[int]) -> str:
    """Sorted integers as text, runs joined: 0..34, 255."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else noun + "s"
