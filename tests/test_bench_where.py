"""The conclusions that bench/where.py draws from samples of the profiler."""

from __future__ import annotations

import pytest
import where

RUN = "main (_server.py:1);unrolled_run (trio/_core/_run.py:2)"


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        (f"{RUN}", where.REST),
        (f"{RUN};Starts._perform (s.py:1);load (_server.py:3);sleep_until (t.py:9)", "the agent, and its timers"),
        (
            f"{RUN};Starts._perform (s.py:1);load (l.py:3);Run.output (r.py:1);dumps (o.py)",
            "emit: encode, number, keep",
        ),
        (f"{RUN};Committer.run (c.py:1);Flusher.visit (f.py:1);WriteBuffer.write (o.py:1)", "frames and their sending"),
        (f"{RUN};Committer.run (c.py:1);Flusher.visit (f.py:1);WriteBuffer._try (o.py:1)", "system call: send"),
        (f"{RUN};Committer.run (c.py:1);SessionStream.batch (j.py:1);Ring.slice (r.py:1)", "commit"),
    ],
)
def test_part_of_a_sample(stack: str, part: str) -> None:
    """A sample of the profiler (a stack of functions) counts for one part of the server.

    The innermost known function of the stack decides which part this is.
    """
    assert where.part_of(stack) == part


def test_shares() -> None:
    """The share of a part is its number of samples divided by the number of all samples.

    Samples that belong to no known part are counted too, as ``REST``.
    """
    found = where.shares([f"{RUN};Committer.run (c.py:1) 3", f"{RUN} 1"])
    assert found == {"commit": 0.75, where.REST: 0.25}


def test_no_samples() -> None:
    """If the profiler has taken no samples, an error is raised."""
    with pytest.raises(SystemExit, match="saw nothing"):
        where.shares([])
