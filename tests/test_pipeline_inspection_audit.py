"""Pages of single edits: which edits, what is shown of them, what is said of them."""

import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hdmodel.errors import InputError
from pipeline.editing.program import Drop, MirrorScene, Move, Operation, RelabelRegion
from pipeline.editing.recompose import Recomposed
from pipeline.errors import DatasetError, OutputError
from pipeline.inspection import audit, audit_server
from pipeline.inspection.audit import MARKS, read_listing, write_audit
from pipeline.inspection.audit_crops import crop_of, draw_edit, pixels_of
from pipeline.inspection.audit_edits import AppliedEdit, applied_edits, in_order_of_choice
from pipeline.inspection.audit_marks import (
    REASON_KEYS,
    Mark,
    Marks,
    Z,
    parse_marks,
    rates,
    read_marks,
    wilson_interval,
)
from pipeline.inspection.audit_server import AuditServer
from pipeline.output.folder import OutputFolder
from pipeline.pictures import colorize
from pipeline.scene import Scene
from pipeline.taxonomy import Taxonomy
from tests.datasets import label_file, stem
from tests.edited_scenes import run
from tests.outputs import make_run
from tests.scenes import street

CITY = Taxonomy.load("cityscapes")
SCRIPT = Path(audit.__file__).parent / "templates" / "audit.js"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    return make_run(
        tmp_path_factory.mktemp("run"), samples=18, failed={2: "render"}, uncommitted=(4,)
    )


@pytest.fixture(scope="module")
def folder(out: OutputFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audit(out.root, tmp_path_factory.mktemp("audit") / "page", edits=99).page.parent


def edit_of(operation: Operation, position: int = 1) -> AppliedEdit:
    return AppliedEdit(0, position, operation.op, "car", "words")


def marks_of(listing: dict[str, Any], *verdicts: str) -> Marks:
    keys = ("sample", "position", "op", "class_name")
    return Marks.parse(
        {
            "fingerprint": listing["fingerprint"],
            "marks": [
                {**{key: edit[key] for key in keys}, "verdict": verdict}
                for edit, verdict in zip(listing["edits"], verdicts, strict=False)
            ],
        },
        origin="test",
    )


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


# Which edits


def test_edits_that_were_applied_are_listed_with_what_they_bring() -> None:
    operations = [
        {"op": "mirror_scene"},
        {"op": "drop", "instance": 26001},
        {"op": "drop", "instance": 26002},
        {"op": "change_class", "instance": 26003, "to": "bus"},
        {"op": "replace", "instance": 26000, "donor": "b", "donor_instance": 27000, "scale": 1},
        {"op": "relabel_region", "of": "vegetation", "to": "building", "at": None},
        {"op": "grow_region", "of": "road", "into": "sidewalk", "pixels": 3},
        {"op": "skyline", "upper": "sky", "lower": "vegetation", "rows": [3]},
        {"op": "crop_zoom", "top": 0, "left": 0, "height": 2, "width": 2},
    ]
    skipped = {"kind": "skipped", "operation": 1, "instance": 26001, "reason": "why"}
    row = {
        "index": 7,
        "program": json.dumps({"operations": operations}),
        "events": [json.dumps(skipped)],
    }
    found = [edit for own in applied_edits([row], CITY).values() for edit in own]
    assert {(edit.position, edit.op, edit.class_name) for edit in found} == {
        (3, "drop", "car"),
        (4, "change_class", "bus"),
        (5, "replace", "truck"),
        (6, "relabel_region", "building"),
        (7, "grow_region", "road"),
        (8, "skyline", "vegetation"),
    }
    assert {edit.sample for edit in found} == {7}
    assert next(edit.caption for edit in found if edit.op == "drop") == "removed car 26002"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_the_first_edits_are_spread_over_kinds_and_samples(counts: list[int]) -> None:
    edits = {
        f"op{kind}": [AppliedEdit(n, 1, f"op{kind}", "car", "") for n in range(count)]
        for kind, count in enumerate(counts)
    }
    order = list(in_order_of_choice(edits))
    assert sorted((edit.op, edit.sample) for edit in order) == sorted(
        (edit.op, edit.sample) for own in edits.values() for edit in own
    )
    assert order == list(in_order_of_choice(edits))
    for first in range(1, len(order) + 1):
        taken = Counter(edit.op for edit in order[:first])
        most = max(taken.values())
        for kind, own in edits.items():
            assert taken[kind] >= min(most - 1, len(own))
    for kind, own in edits.items():
        half = [edit.sample for edit in order if edit.op == kind][: (len(own) + 1) // 2]
        assert max(np.diff(sorted(half)), default=0) <= 4


def test_no_edits_are_in_order_too() -> None:
    assert list(in_order_of_choice({})) == []


# What is shown of an edit


def test_a_crop_has_context_and_lies_in_the_picture() -> None:
    instance = np.zeros((200, 400), np.int32)

    def crop(op: str, *boxes: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        pixels = np.zeros(instance.shape, bool)
        for top, left, bottom, right in boxes:
            pixels[top:bottom, left:right] = True
        return crop_of(AppliedEdit(0, 1, op, "car", ""), pixels, instance)

    assert crop("drop", (100, 200, 102, 204)) == (68, 169, 135, 236)  # a sixth of the width
    assert crop("drop", (80, 180, 120, 220)) == (50, 150, 150, 250)  # 2.5 times its size
    assert crop("drop", (0, 0, 40, 20)) == (0, 0, 100, 100)
    assert crop("drop", (190, 380, 200, 400)) == (133, 333, 200, 400)
    assert crop("drop", (50, 50, 150, 150)) == (0, 0, 200, 250)  # no taller than the picture
    assert crop("drop", (0, 0, 200, 400)) == (0, 0, 200, 400)
    instance[100:120, 300:320] = 26000
    near, far = (100, 250, 120, 270), (100, 20, 120, 40)
    now = (100, 300, 120, 320)
    assert crop("move", near, now) == (23, 198, 198, 373)
    assert crop("move", far, now) == (77, 277, 144, 344)
    assert crop("paste", far, now) == (0, 0, 200, 400)
    instance[:] = 0
    assert crop("move", far, now) == (0, 0, 200, 400)  # nothing of it can be seen where it is


def small_street() -> Scene:
    return street("a", height=48, width=96)


def draw(edit: AppliedEdit, made: Recomposed, to: Path) -> Any:  # noqa: ANN401
    (to / "images").mkdir(exist_ok=True)
    photo = np.zeros((*made.scene.size, 3), np.uint8)
    return draw_edit(edit, made, photo, CITY.colors, number=1, to=to)


def test_before_is_the_source_as_the_program_frames_it(tmp_path: Path) -> None:
    scene, car = small_street(), 26000
    operation = Drop(instance=car)
    made = run(scene, MirrorScene(), operation)
    drawn = draw(edit_of(operation, 2), made, tmp_path)
    top, left, bottom, right = drawn.crop
    before = picture(tmp_path / drawn.before.file)
    scale = before.shape[1] // (right - left)
    centres = before[scale // 2 :: scale, scale // 2 :: scale]
    expected = colorize(scene.label[:, ::-1][top:bottom, left:right], CITY.colors)
    same = (centres == expected).all(axis=2)
    assert same.mean() > 0.8  # the rest are outlines of objects
    assert car in np.unique(made.framed.instance[top:bottom, left:right])
    assert car not in np.unique(made.scene.instance[top:bottom, left:right])


def test_only_the_pixels_of_the_edit_are_outlined(tmp_path: Path) -> None:
    scene, car = small_street(), 26000
    operations = (Drop(instance=car), Move(instance=26001, rows=0, columns=-3))
    made = run(scene, *operations)
    for position, operation in enumerate(operations, start=1):
        drawn = draw(edit_of(operation, position), made, tmp_path)
        top, left, bottom, right = drawn.crop
        after = picture(tmp_path / drawn.after.file)
        scale = after.shape[1] // (right - left)
        white = (after == 255).all(axis=2)
        pixels = (made.origin == position)[top:bottom, left:right].repeat(scale, 0).repeat(scale, 1)
        assert white.any()
        assert not (white & pixels).any()
        distance = np.argwhere(white)[:, None] - np.argwhere(pixels)[None, :: scale // 2]
        assert np.abs(distance).max(axis=2).min(axis=1).max() <= scale


def test_a_moved_object_counts_where_it_was_and_where_it_is() -> None:
    scene, car = small_street(), 26000
    operation = Move(instance=car, rows=0, columns=4)
    pixels = pixels_of(edit_of(operation), run(scene, operation))
    was = scene.instance == car
    is_now = np.roll(was, 4, axis=1)
    np.testing.assert_array_equal(pixels, was | is_now)


def test_an_edit_that_others_cover_is_not_drawn(tmp_path: Path) -> None:
    scene = small_street()
    edits = (RelabelRegion(of="road", to="sidewalk"),)
    made = run(scene, *edits, RelabelRegion(of="sidewalk", to="road"))
    assert draw(edit_of(edits[0], 1), made, tmp_path) is None
    assert list((tmp_path / "images").iterdir()) == []
    assert draw(edit_of(edits[0], 2), made, tmp_path) is not None


# The folder


def test_the_folder_lists_every_edit_with_its_pictures(out: OutputFolder, folder: Path) -> None:
    listing = read_listing(folder)
    edits = listing["edits"]
    # Samples 2, 8 and 9 failed or are not committed.
    expected = {(3, 1), (4, 1), (5, 2), (10, 1), (11, 2), (14, 1), (15, 1), (16, 1), (17, 2)}
    assert {(edit["sample"], edit["position"]) for edit in edits} == expected
    assert [edit["number"] for edit in edits] == list(range(1, len(expected) + 1))
    assert [edit["op"] for edit in edits[:3]] == ["drop", "move", "paste"]
    assert {edit["class_name"] for edit in edits if edit["op"] == "paste"} == {"car"}
    moved = next(edit for edit in edits if edit["sample"] == 3)
    assert (moved["op"], moved["class_name"], moved["scene"]) == ("move", "person", stem(0))
    assert moved["caption"] == "moved person 24000 5 px left and 1 px down"
    for edit in edits:
        assert set(edit["pictures"]) == {"before", "after", "objects", "photo", "scene", "strip"}
    files = {file for edit in edits for file in edit["pictures"].values() if file}
    assert files == {f"images/{path.name}" for path in (folder / "images").iterdir()}
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "images", "sheets", "edits.json",
    }  # fmt: skip


def test_the_photo_is_that_of_the_sample(out: OutputFolder, folder: Path) -> None:
    photos = zarr.open_group(out.data, mode="r")["photo"]
    edit = read_listing(folder)["edits"][0]
    top, left, bottom, right = edit["crop"]
    shown = picture(folder / edit["pictures"]["photo"]).astype(float)
    expected = np.asarray(photos[edit["sample"]])[top:bottom, left:right].astype(float)
    np.testing.assert_allclose(shown.mean(axis=(0, 1)), expected.mean(axis=(0, 1)), atol=3)


def test_the_page_shows_every_picture_and_nothing_from_elsewhere(folder: Path) -> None:
    text = (folder / "index.html").read_text("utf-8")
    edits = read_listing(folder)["edits"]
    files = {
        file
        for edit in edits
        for name, file in edit["pictures"].items()
        if file and name != "strip"
    }
    assert set(re.findall(r' src="([^"]+)"', text)) == files
    assert text.count("<article") == len(edits)
    assert "://" not in text
    for edit in edits:
        assert edit["caption"] in text
    for key, reason in REASON_KEYS.items():
        assert f'data-reason="{reason}"><kbd>{key}</kbd>' in text


def test_sheets_hold_twelve_edits_each(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=24)
    made = write_audit(out.root, tmp_path / "page", edits=14)
    assert (made.edits, made.sheets) == (14, 2)
    sheets = sorted((tmp_path / "page" / "sheets").iterdir())
    assert [path.name for path in sheets] == ["000.png", "001.png"]
    whole, rest = (picture(path) for path in sheets)
    assert whole.shape[1] == rest.shape[1]
    assert whole.shape[0] > 5 * rest.shape[0]
    strip = picture(
        tmp_path / "page" / read_listing(tmp_path / "page")["edits"][12]["pictures"]["strip"]
    )
    assert strip.shape[1] == 3 * 300 + 2 * 6
    found = np.lib.stride_tricks.sliding_window_view(rest, strip.shape)[46, 20, 0]
    np.testing.assert_array_equal(found, strip)


def test_a_larger_page_shows_the_edits_of_a_smaller_one_first(
    out: OutputFolder, folder: Path, tmp_path: Path
) -> None:
    made = write_audit(out.root, tmp_path / "page", edits=4)
    assert made.edits == 4
    assert read_listing(tmp_path / "page")["edits"] == read_listing(folder)["edits"][:4]


def test_marks_stay_where_the_page_is_made_anew(out: OutputFolder, tmp_path: Path) -> None:
    page = tmp_path / "page"
    write_audit(out.root, page, edits=4)
    marks = marks_of(read_listing(page), "right", "wrong", "right", "wrong")
    (page / MARKS).write_text(marks.model_dump_json(), encoding="utf-8")
    assert write_audit(out.root, page, edits=6).kept_marks == 4
    assert read_marks(page / MARKS) == marks
    with pytest.raises(OutputError, match=r"cannot keep these marks \(the page shows no edit"):
        write_audit(out.root, page, edits=2)
    other = marks.model_copy(update={"fingerprint": "another"})
    (page / MARKS).write_text(other.model_dump_json(), encoding="utf-8")
    with pytest.raises(OutputError, match="got those of another"):
        write_audit(out.root, page, edits=6)
    assert read_marks(page / MARKS) == other
    (page / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'notes\.txt'"):
        write_audit(out.root, page, edits=4)


def test_a_run_without_edits_is_refused(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=2)
    with pytest.raises(OutputError, match="no edit of a committed sample can be seen"):
        write_audit(out.root, tmp_path / "page", edits=3)
    assert not (tmp_path / "page").exists()


def test_a_dataset_that_has_changed_is_named(tmp_path: Path) -> None:
    out = make_run(tmp_path, samples=6)
    path = label_file(tmp_path / "world", 2)
    label = np.array(Image.open(path))
    label[0, 0] = 11
    Image.fromarray(label).save(path)
    instance = path.with_name(path.name.replace("labelIds", "instanceIds"))
    Image.fromarray(label.astype(np.uint16)).save(instance)
    with pytest.raises(DatasetError, match="sample 2 no longer comes out as recorded"):
        write_audit(out.root, tmp_path / "page", edits=3)
    shutil.rmtree(tmp_path / "world")
    with pytest.raises(DatasetError, match="world"):
        write_audit(out.root, tmp_path / "page", edits=3)
    assert not (tmp_path / "page").exists()


# What is said of edits


@given(st.integers(1, 500), st.data())
def test_the_interval_ends_where_the_share_is_just_believable(
    total: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, total))
    low, high = wilson_interval(count, total)
    share = count / total
    assert 0 <= low < high <= 1
    assert low - 1e-9 <= share <= high + 1e-9
    for end in (low, high):
        deviation = np.sqrt(end * (1 - end) / total)
        assert abs(share - end) == pytest.approx(Z * deviation, abs=1e-6)


def mark(
    number: int, op: str, class_name: str, verdict: str = "right", reason: str | None = None
) -> dict[str, Any]:
    """A mark as plain data."""
    edit = {"sample": number, "position": 1, "op": op, "class_name": class_name}
    return edit | {"verdict": verdict, "reason": reason}


def test_rates_by_operation_class_and_reason() -> None:
    marks = [
        Mark.parse(plain, origin="test")
        for plain in (
            mark(0, "paste", "car"),
            mark(1, "paste", "car", "wrong", "wrong size"),
            mark(2, "drop", "person", "wrong", "odd fill"),
            mark(3, "drop", "car", "wrong", "wrong size"),
            mark(4, "drop", "car", "wrong"),
        )
    ]
    assert [(r.group, r.name, r.count, r.judged) for r in rates(marks)] == [
        ("all", "all", 1, 5),
        ("operation", "drop", 0, 3),
        ("operation", "paste", 1, 2),
        ("class", "car", 1, 4),
        ("class", "person", 0, 1),
        ("reason", "odd fill", 1, 5),
        ("reason", "wrong size", 2, 5),
        ("reason", "no reason given", 1, 5),
    ]
    assert rates([]) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "expected marks in JSON"),
        ("[]", "expected marks in JSON, got list"),
        ("[" * 100_000, "expected marks in JSON"),
        ('{"version": 2, "fingerprint": "a"}', "version"),
        ('{"version": 1}', "missing key 'fingerprint'"),
        ('{"fingerprint": "a", "mark": []}', "unknown key 'mark'"),
        ([mark(0, "drop", "car", "maybe")], r"marks\.0\.verdict"),
        ([mark(0, "drop", "car", "wrong", "ugly")], r"marks\.0\.reason"),
        ([mark(0, "drop", "car", "right", "other")], "expected no reason for what is right"),
        ([mark(0, "drop", "car")] * 2, "expected one mark per edit"),
        ([mark(0, "drop", "car") | {"note": "x" * 1001}], r"marks\.0\.note"),
    ],
)
def test_what_are_no_marks_is_named(content: str | list[Any], problem: str) -> None:
    text = (
        content if isinstance(content, str) else json.dumps({"fingerprint": "a", "marks": content})
    )
    with pytest.raises(InputError, match=rf"^some\.json: .*{problem}") as caught:
        parse_marks(text.encode(), origin="some.json")
    assert "\n" not in str(caught.value)


# The script of the page


def press(listing: dict[str, Any], keys: list[str], stored: str | None = None) -> dict[str, Any]:
    """What the page's script makes of keys that are pressed one after the other."""
    data = {
        "fingerprint": listing["fingerprint"],
        "edits": listing["edits"],
        "reasons": REASON_KEYS,
        "noReason": "no reason given",
    }
    arguments = [json.dumps(data), json.dumps(keys), *([stored] if stored else [])]
    done = subprocess.run(
        ["node", Path(__file__).with_name("audit_page.js"), SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@needs_node
def test_keys_make_marks_that_we_can_read(folder: Path) -> None:
    listing = read_listing(folder)
    keys = ["1", "2", "c", " ", "x", "ArrowRight", "k", "ArrowLeft", "p", "j", "1", "z", "1", "u"]
    answer = press(listing, keys)
    marks = parse_marks(answer["kept"].encode(), origin="page")
    assert marks.fingerprint == listing["fingerprint"]
    # `p` was pressed on the third edit, which is right, so it gave no reason.
    assert [(m.verdict, m.reason) for m in marks.marks] == [
        ("right", None), ("wrong", "cut shape"), ("right", None), ("right", None),
    ]  # fmt: skip
    assert [(m.sample, m.position) for m in marks.marks] == [
        (edit["sample"], edit["position"]) for edit in listing["edits"][:4]
    ]
    assert answer["progress"] == "edit 5 of 9, 4 judged"
    ours = [rate.to_plain() for rate in rates(marks.marks)]
    for rate, other in zip(answer["rates"], ours, strict=True):
        assert rate == {key: pytest.approx(value) for key, value in other.items()}


@needs_node
def test_undo_takes_back_a_reason_and_a_change_of_mind(folder: Path) -> None:
    answer = press(read_listing(folder), ["2", "s", "k", "1", "u", "u"])
    marks = parse_marks(answer["kept"].encode(), origin="page").marks
    assert [(m.verdict, m.reason) for m in marks] == [("wrong", None)]
    assert answer["progress"] == "edit 1 of 9, 1 judged"


@needs_node
def test_the_page_goes_on_where_it_was_left(folder: Path) -> None:
    listing = read_listing(folder)
    earlier = marks_of(listing, "right", "wrong")
    answer = press(listing, [], earlier.model_dump_json())
    assert answer["progress"] == "edit 3 of 9, 2 judged"
    other = earlier.model_copy(update={"fingerprint": "another"})
    answer = press(listing, [], other.model_dump_json())
    assert answer["state"] == "earlier marks are not loaded: these are marks of another run"


# The server


@pytest.fixture
def server(out: OutputFolder, tmp_path: Path) -> Iterator[AuditServer]:
    write_audit(out.root, tmp_path / "page", edits=3)
    with AuditServer(tmp_path / "page") as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def ask(
    address: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    request = urllib.request.Request(address, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_it_serves_the_files_of_the_page_and_no_others(server: AuditServer) -> None:
    here = server.address
    assert ask(here) == ask(here + "index.html")
    assert ask(here + "edits.json") == (200, (server.folder / "edits.json").read_bytes())
    image = read_listing(server.folder)["edits"][0]["pictures"]["photo"]
    assert ask(here + image) == (200, (server.folder / image).read_bytes())
    (server.folder / "images" / "later.png").write_bytes(b"mine")
    for path in (
        "marks.json",
        "../page/edits.json",
        "images/",
        "images/later.png",
        "sheets/000.png",
    ):
        assert ask(here + path)[0] == 404, path
    for address in (f"{server.origin}/", f"{server.origin}/guess/", here[:-1]):
        assert ask(address)[0] == 404, address
    assert ask(here, Host="elsewhere.example")[0] == 404


def test_it_saves_marks_of_the_page_and_nothing_else(
    server: AuditServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, path = server.address + MARKS, server.folder / MARKS
    marks = marks_of(server.listing, "right", "wrong")
    body = marks.model_dump_json().encode()
    origin = {"Origin": server.origin}
    refused = [
        (403, ask(address, "PUT", body)),
        (403, ask(address, "PUT", body, Origin="http://elsewhere.example")),
        (404, ask(f"{server.origin}/guess/{MARKS}", "PUT", body, **origin)),
        (404, ask(address, "PUT", body, **origin, Host="elsewhere.example")),
        (405, ask(server.address + "edits.json", "PUT", body, **origin)),
        (400, ask(address, "PUT", b"{}", **origin)),
        (400, ask(address, "PUT", body.replace(server.listing["fingerprint"].encode(), b"other"),
                  **origin)),
        (400, ask(address, "PUT", body.replace(b'"position":1', b'"position":9'), **origin)),
        (501, ask(address, "POST", body, **origin)),
    ]  # fmt: skip
    assert [got for _, (got, _) in refused] == [expected for expected, _ in refused]
    assert not path.exists()
    assert ask(address, "PUT", body, **origin) == (204, b"")
    assert read_marks(path) == marks
    assert ask(address) == (200, path.read_bytes())
    monkeypatch.setattr(audit_server, "MOST_BYTES", len(body) - 1)
    assert ask(address, "PUT", body, **origin)[0] == 413
    assert sorted(entry.name for entry in server.folder.iterdir()) == [
        "edits.json", "images", "index.html", MARKS, "sheets",
    ]  # fmt: skip
