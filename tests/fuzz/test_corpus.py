"""Every input that fuzzing has kept is checked again, and a target finds a fault when there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fuzz import corpus
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from fuzz.target import Target

MAX_CORPUS_BYTES = 200_000


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_kept_inputs(target: Target) -> None:
    """No contract is broken for the inputs of a target: the seeds, and those that reached new code in fuzzing."""
    for data in (*target.seeds, *corpus.load(target.name)):
        assert len(data) <= target.longest
        target.check(data)


def test_corpus_of_each_target() -> None:
    """Each target has a corpus, each corpus has a target, and all of them together are small."""
    assert {path.stem for path in corpus.FOLDER.iterdir()} == TARGETS.keys()
    assert all(corpus.load(name) for name in TARGETS)
    assert sum(path.stat().st_size for path in corpus.FOLDER.iterdir()) <= MAX_CORPUS_BYTES
