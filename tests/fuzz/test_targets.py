"""Every parser of untrusted bytes on known inputs and on some thousand changes of them."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from tests.fuzz import builds, corpus
from tests.fuzz.builds import Build
from tests.fuzz.mutation import mutations
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

CHANGES = 150
"""Changed inputs a target: some seconds in all. ``./run fuzz`` tries as many as one likes."""


@pytest.fixture(scope="module")
def copies() -> dict[bool, list[Build]]:
    """Builds to run a target on, by whether it involves kernels."""
    in_use = builds.in_use()
    both = [in_use, builds.plain()] if in_use.name == "compiled" else [in_use]
    return {True: both, False: [in_use]}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_corpus_passes(target: Target, copies: dict[bool, list[Build]]) -> None:
    inputs = corpus.read(target.name)
    assert inputs, "a target without a corpus tries next to nothing"
    for data in inputs:
        target.run(copies[target.kernel], data)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_changes_of_the_corpus_pass(target: Target, copies: dict[bool, list[Build]]) -> None:
    made = mutations(corpus.read(target.name), target.longest, Random(target.name))
    for data in itertools.islice(made, CHANGES):
        target.run(copies[target.kernel], data)


def test_the_plain_build_is_another_copy_of_the_package() -> None:
    from polevpn_trio.frames import codec

    copy = builds.plain()["frames.codec"]
    assert copy is not codec
    assert (copy.__file__ or "").endswith(".py")


def test_builds_that_disagree_are_told_apart() -> None:
    from tests.fuzz.target import Disagreement

    ours = builds.in_use()
    other = Build("other", dict(ours.modules))
    target = Target("name", lambda build, draw: build.name + str(draw.byte()), kernel=True)
    assert target.run([ours, ours], b"\1") == f"{ours.name}1"
    with pytest.raises(Disagreement, match="other1"):
        target.run([ours, other], b"\1")


def test_a_seed_makes_the_same_inputs_again_and_none_too_long() -> None:
    seeds = [b"", b"abc", bytes(50)]
    first = list(itertools.islice(mutations(seeds, 40, Random(5)), 200))
    assert first == list(itertools.islice(mutations(seeds, 40, Random(5)), 200))
    assert max(map(len, first)) == 40
    assert len(set(first)) > 150
