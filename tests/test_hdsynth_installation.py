"""Finding packages that come from elsewhere than hdsynth."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from hdsynth.installation import misplaced_package


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, spec: ModuleSpec | None) -> None:
    """Let a package seem to be imported from elsewhere."""
    module = ModuleType(name)
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, name, module)


def test_this_installation_is_in_order() -> None:
    assert misplaced_package() is None


def test_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, "eval", ModuleSpec("eval", None, origin=str(tmp_path / "eval.py")))
    problem = misplaced_package()
    assert problem is not None
    assert f"import 'eval' from {tmp_path / 'eval.py'}" in problem


def test_a_folder_without_init_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("configs", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "configs")]
    pretend(monkeypatch, "configs", spec)
    problem = misplaced_package()
    assert problem is not None
    assert f"import 'configs' from {tmp_path / 'configs'}" in problem
