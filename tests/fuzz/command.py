"""``./run fuzz``: puts made-up inputs through everything that reads untrusted bytes.

Each target (``targets/__init__.py``) is tried for a while, on the plain and the compiled build
side by side, and the inputs are counted. An input that fails is kept in ``build/fuzz/failures``
and can be tried again with ``--replay``. Inputs that reached new code are kept in
``build/fuzz`` for the next run; ``--learn`` picks the few that matter and puts them where they
belong to the tests (``corpus/``).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import attrs

from tests.fuzz import builds, corpus, coverage
from tests.fuzz.mutation import mutations
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

WORK = Path(__file__).parents[2] / "build" / "fuzz"
FAILURES = WORK / "failures"

LONGEST_LEARNT = 800
"""Bytes of an input that may join the corpus: longer ones add more weight than ways."""
MOST_LEARNT = 48
"""Inputs of a target in the corpus."""


@attrs.frozen
class Result:
    """What was tried of one target."""

    target: str
    engine: str
    inputs: int
    seconds: float
    failure: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if nothing failed."""
    options = _parse(arguments)
    chosen = [target for target in TARGETS if not options.target or target.name in options.target]
    FAILURES.mkdir(parents=True, exist_ok=True)
    if options.replay is not None:
        return _replay(chosen, options.replay)
    results = []
    for target in chosen:
        if options.learn:
            print(f"{target.name:16} {_learn(target)} inputs in the corpus", flush=True)
            continue
        result = _fuzz(target, options)
        results.append(result)
        if not options.json:
            rate = result.inputs / max(result.seconds, 0.001)
            state = "FAILED" if result.failure else "ok"
            print(
                f"{target.name:16} {result.inputs:>11,} inputs {rate:>9,.0f} a second  "
                f"{result.engine:8}  {state}",
                flush=True,
            )
        if result.failure:
            print(result.failure, file=sys.stderr)
    if options.json:
        print(json.dumps([attrs.asdict(result) for result in results]))
    elif results:
        print(f"{'in all':16} {sum(result.inputs for result in results):>11,} inputs")
    return 1 if any(result.failure for result in results) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(prog="./run fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--target", action="append", choices=names, help="try only this one (may be repeated)"
    )
    parser.add_argument(
        "--inputs", type=int, default=0, metavar="N", help="stop after N inputs of a target"
    )
    parser.add_argument(
        "--seconds", type=int, default=10, metavar="S", help="seconds for a target (10)"
    )
    parser.add_argument(
        "--engine",
        choices=("coverage", "mutation"),
        help="how inputs are made: guided by coverage (if Atheris is installed), or at random",
    )
    parser.add_argument("--seed", type=int, help="of the mutation engine; else drawn and printed")
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try one kept input again")
    parser.add_argument(
        "--learn", action="store_true", help="put what earlier runs found into tests/fuzz/corpus"
    )
    return parser.parse_args(arguments)


def _builds(target: Target) -> list[builds.Build]:
    in_use = builds.in_use()
    if target.kernel and in_use.name == "compiled":
        return [in_use, builds.plain()]
    return [in_use]


def _replay(chosen: Sequence[Target], file: Path) -> int:
    if len(chosen) != 1:
        print("--replay needs the --target that the input is for", file=sys.stderr)
        return 2
    print(chosen[0].run(_builds(chosen[0]), file.read_bytes()))
    return 0


def _fuzz(target: Target, options: argparse.Namespace) -> Result:
    engine = options.engine or ("coverage" if coverage.available() else "mutation")
    began = time.monotonic()
    if engine == "coverage":
        run = coverage.fuzz(target, options.inputs, options.seconds, _learnt(target), FAILURES)
        inputs, failure = run.inputs, run.failure
    else:
        inputs, failure = _mutate(target, options)
    return Result(target.name, engine, inputs, time.monotonic() - began, failure)


def _learnt(target: Target) -> Path:
    """Give the folder of what is known to be worth trying, with the corpus in it."""
    folder = WORK / target.name
    folder.mkdir(exist_ok=True)
    for data in corpus.read(target.name):
        _file(folder, data).write_bytes(data)
    return folder


def _file(folder: Path, data: bytes) -> Path:
    return folder / sha256(data).hexdigest()[:40]


def _mutate(target: Target, options: argparse.Namespace) -> tuple[int, str]:
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    seeds = corpus.read(target.name)
    copies = _builds(target)
    deadline = time.monotonic() + options.seconds if options.seconds else float("inf")
    tried = 0
    for data in mutations(seeds, target.longest, random.Random(seed)):
        if (options.inputs and tried >= options.inputs) or time.monotonic() > deadline:
            break
        tried += 1
        try:
            target.run(copies, data)
        except Exception:
            kept = FAILURES / f"{target.name}-{sha256(data).hexdigest()[:16]}"
            kept.write_bytes(data)
            return tried, f"{traceback.format_exc()}seed {seed}, input kept in {kept}"
    return tried, ""


def _learn(target: Target) -> int:
    """Renew a target's corpus from all that runs have found; return its size."""
    chosen = WORK / f"{target.name}-chosen"
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir()
    run = coverage.pick(target, _learnt(target), chosen)
    found = [file.read_bytes() for file in chosen.iterdir()]
    if run.failure or not found:
        raise SystemExit(run.failure or f"nothing was learnt of {target.name}")
    short = sorted((data for data in found if len(data) <= LONGEST_LEARNT), key=len)
    shutil.rmtree(chosen)
    # Of all sizes: the short ones reach much, the long ones deep.
    return corpus.write(target.name, short[:: -(-len(short) // MOST_LEARNT) or 1])


if __name__ == "__main__":
    sys.exit(main())
