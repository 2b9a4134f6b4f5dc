"""The rules of the house that a program can check."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "configs": {"configs"},
    "hdmodel": {"hdmodel", "configs"},
    "pipeline": {"pipeline", "hdmodel", "configs"},
    "eval": {"eval", "pipeline", "hdmodel", "configs"},
    "hdsynth": {"hdsynth", "eval", "pipeline", "hdmodel", "configs"},
}
LIGHT_MODULES = {"hdsynth/cli.py", "hdsynth/installation.py", "hdsynth/logs.py"}
HEAVY = {"torch", "torchvision", "apache_beam"}
ORDER = (
    "errors", "rng", "progress", "threads", "devices", "taxonomy", "checkpoints", "scene", "roles",
    "images", "pictures", "fit", "editing", "output", "reader", "sources", "indexing", "donors",
    "placing", "planning", "styles", "exemplars", "config", "rendering", "inspection", "prepare",
    "forecast", "run", "sample_world", "training",
)  # fmt: skip
"""The folders and modules of `pipeline/`; each may import those before it."""
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Line and first name of every absolute import among the nodes."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "relative import" if node.level else str(node.module).split(".")[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    forbidden = (set(MAY_IMPORT) | {"tests", "bench", "relative import"}) - MAY_IMPORT[package]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imports(ast.walk(parse(path)))
        if name in forbidden
    ]
    assert wrong == []


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported_modules() -> dict[str, set[str]]:
    """Our modules, and which of ours each imports, anywhere in its text."""
    paths = {module_name(path): path for path in modules("hdmodel", "pipeline", "eval")}
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        targets = set()
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= (inner & paths.keys()) or {str(node.module)}
        found[name] = targets & paths.keys() - {name}
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = imported_modules()
    while leaves := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in leaves}
    assert left == {}, "these modules are on circles, or import what is"


def test_pipeline_follows_the_order_of_its_folders() -> None:
    wrong = []
    for name, targets in imported_modules().items():
        package, *inside = name.split(".")
        if package != "pipeline" or not inside:
            continue
        place = ORDER.index(inside[0])
        wrong += [
            f"{name} imports {target}"
            for target in sorted(targets)
            if target.startswith("pipeline.") and ORDER.index(target.split(".")[1]) > place
        ]
    assert wrong == []


def table_of(document: str, heading: str) -> dict[str, str]:
    """The first and the last column of a table in a document, its first row left out."""
    text = (ROOT / document).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    rows = re.findall(r"^\| *`([^`]+)` *\|.*?([^|\n]*)\|$", text.split("\n## ")[0], re.MULTILINE)
    return {name: last.strip() for name, last in rows}


@pytest.mark.parametrize(
    ("document", "heading"),
    [("CONTRIBUTING.md", "Where things are"), ("docs/architecture.md", "Packages")],
)
def test_documents_say_who_may_import_whom(document: str, heading: str) -> None:
    table = table_of(document, heading)
    for package, allowed in MAY_IMPORT.items():
        expected = allowed - {package, "configs"}
        assert set(re.findall(r"`(\w+)`", table[f"{package}/"])) == expected, package


def test_the_architecture_page_lists_the_folders_in_their_order() -> None:
    table = table_of("docs/architecture.md", "Where is it?")
    folders = {path.parent for path in modules("hdmodel", "pipeline", "eval")}
    expected = [f"pipeline/{name}/" for name in ORDER if (ROOT / "pipeline" / name).is_dir()]
    expected += ["hdmodel/training/", "eval/scorers/", "eval/measures/", "eval/reports/"]
    assert list(table) == expected
    assert {ROOT / name for name in table} == folders - {ROOT / name for name in MAY_IMPORT}
    wrong = [
        f"{folder}{name}"
        for folder, answers in table.items()
        for name in re.findall(r"`(\w+\.py)`", answers)
        if not (ROOT / folder / name).is_file()
    ]
    assert wrong == []


DOCUMENTS = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]


def test_paths_that_documents_name_exist() -> None:
    folders = "|".join((*MAY_IMPORT, "tests", "bench", "docs"))
    pattern = re.compile(rf"(?<![\w/.-])(?:{folders})/(?:[\w./-]*\w)?(?![\w<*])")
    wrong = [
        f"{path.name}: {found}"
        for path in DOCUMENTS
        for found in pattern.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / found).exists()
    ]
    assert wrong == []


def anchors(text: str) -> set[str]:
    """What links may lead to in a document: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_documents_lead_somewhere(path: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            wrong.append(link)
    assert wrong == []


def test_package_inits_and_the_command_line_load_nothing_heavy() -> None:
    light = [path for path in modules(*MAY_IMPORT) if path.name == "__init__.py"]
    light += [ROOT / name for name in LIGHT_MODULES]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in light
        for line, name in imports(parse(path).body)
        if name in HEAVY
    ]
    assert wrong == []


def test_commands_import_click_and_the_standard_library_at_their_top() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules("hdsynth/commands")
        for line, name in imports(parse(path).body)
        if name not in sys.stdlib_module_names | {"click", "hdsynth"}
    ]
    assert wrong == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    wrong = [path for path in modules(*MAY_IMPORT, "bench") if path.stem in VAGUE_NAMES]
    assert wrong == []


def test_every_test_file_is_named_after_a_package() -> None:
    names = [path.stem for path in (ROOT / "tests").glob("test_*.py")]
    pattern = re.compile(rf"test_(project|({'|'.join(MAY_IMPORT)}|bench)_\w+)")
    assert [name for name in names if not pattern.fullmatch(name)] == []


def test_text_names_no_machine_and_no_download_host() -> None:
    pattern = re.compile(r"(?<![\w.])/(home|root|Users)/\w|pypi\.org|--index-url")
    suffixes = {".py", ".md", ".yaml", ".yml", ".toml", ".html", ".j2"}
    folders = [*MAY_IMPORT, "bench", "docs"]
    files = [p for name in folders for p in (ROOT / name).rglob("*") if p.suffix in suffixes]
    files += [ROOT / name for name in ("Makefile", "pyproject.toml", "CHANGELOG.md")]
    wrong = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in files
        if (found := pattern.search(path.read_text(encoding="utf-8")))
    ]
    assert wrong == []


def test_everything_imported_is_a_declared_dependency() -> None:
    names = {"PyYAML": "yaml", "pillow": "PIL", "scikit-learn": "sklearn"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {k: v for k, v in project["optional-dependencies"].items() if k != "dev"}
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    declared = [re.split(r"[<>=\[ ]", line)[0] for line in lines]
    allowed = {names.get(name, name.replace("-", "_")) for name in declared}
    allowed |= set(MAY_IMPORT) | sys.stdlib_module_names
    used = {name for path in modules(*MAY_IMPORT) for _, name in imports(ast.walk(parse(path)))}
    assert used - allowed == set()


SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_yaml_loads_under_its_name(path: Path) -> None:
    kind, name = path.parent.name, path.stem
    if kind == "taxonomies":
        assert importlib.import_module("pipeline.taxonomy").Taxonomy.load(name).name == name
    elif kind == "policies":
        assert importlib.import_module("pipeline.planning.policy").Policy.load(name).name == name
    elif kind == "models":
        importlib.import_module("pipeline.training.job").read_train_job(path)
    elif kind == "jobs":
        importlib.import_module("pipeline.config").RenderConfig.load(path, options={})
    elif kind == "scorers":
        job = importlib.import_module("eval.scorers.job").ScorerJob
        job.parse(importlib.import_module("hdmodel.settings").read_yaml(path), origin=str(path))
    elif path.name == "scorer.yaml":
        importlib.import_module("eval.scorers.config").read_scorer_config(path.parent)
    else:
        assert (path.parent.parent.name, path.name) == ("checkpoints", "config.yaml")
        importlib.import_module("hdmodel.checkpoint").read_checkpoint_config(path.parent)
