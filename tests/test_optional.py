"""Late imports: what is missing is named with what brings it."""

import json
import sys

import pytest

from undula.optional import EXTRAS, late_import


def test_what_is_there_is_imported():
    assert late_import("json") is json


def test_what_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(EXTRAS, "no_such_module", "audio")
    with pytest.raises(ImportError, match=r"no_such_module.part is not installed; pip install 'undula\[audio\]'"):
        late_import("no_such_module.part")
    with pytest.raises(ImportError, match="another_module is not installed; pip install another_module"):
        late_import("another_module")


def test_a_fault_inside_a_module_is_not_taken_for_its_absence(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import a_module_that_is_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="^No module named 'a_module_that_is_missing'$"):
        late_import("broken_inside")
    assert "broken_inside" not in sys.modules
