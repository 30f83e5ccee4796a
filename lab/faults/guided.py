"""A worker of lab.faults.fuzz whose inputs atheris chooses: `guided.py TARGET SEED RUNS DIRECTORY`.

A program of its own: coverage is seen only of what is imported under atheris' eyes.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["probe", "yaml", "tomllib"]):
    from lab.faults.targets import TARGETS

from lab.faults.fuzz import Board, attempt, limit_memory
from lab.faults.mutate import LARGEST, TOKENS, mutated


def main(name: str, seed: str, runs: str, directory: str) -> None:
    """Try so many inputs."""
    target, board = TARGETS[name], Board(f"{directory}/{name}.board")
    corpus, tokens = target.corpus(), [token.encode() for token in target.tokens]
    seeds = Path(directory, f"{name}.corpus")
    seeds.mkdir(exist_ok=True)
    for number, content in enumerate(corpus):
        (seeds / str(number)).write_bytes(content)
    words = {*tokens, *TOKENS}
    dictionary = Path(directory, f"{name}.dict")
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in sorted(words) if 0 < len(word) < 64))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """As libFuzzer does it, or by what is known of structure."""
        dice = random.Random(seed)
        guided = dice.random() < 0.5
        return (atheris.Mutate(data, most) if guided else mutated([data, *corpus[:1]], tokens, dice))[:most]

    limit_memory()
    options = [
        f"-runs={runs}",
        f"-seed={int(seed) or 1}",
        f"-max_len={LARGEST}",
        f"-dict={dictionary}",
        "-timeout=1000",
    ]
    atheris.Setup(
        [sys.argv[0], *options, "-rss_limit_mb=0", f"{seeds}"],
        lambda data: attempt(target, bytes(data), board, f"{directory}/{name}.log"),
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(*sys.argv[1:])
