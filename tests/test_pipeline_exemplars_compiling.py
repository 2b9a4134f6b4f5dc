import numba
import pytest

from pipeline.exemplars.compiling import compiled


def test_what_cannot_be_kept_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba.core.dispatcher.Dispatcher, "enable_caching", nowhere)

    @compiled()
    def twice(value: int) -> int:
        return 2 * value

    assert isinstance(twice, numba.core.dispatcher.Dispatcher)
    assert twice(21) == 42
