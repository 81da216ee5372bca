"""The pages that are written from the code are as the code is."""

from pathlib import Path

import pytest

from scripts.reference import PAGES


@pytest.mark.parametrize("path", sorted(PAGES), ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path](), "run `make docs`"
