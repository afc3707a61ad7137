"""A reader of ShroomDB files that shares nothing with the engine: python3 reader.py DIRECTORY FILE...

Its parser is made from docs/format.ksy and lies in DIRECTORY/generated, its packages in DIRECTORY/python; the rest is written from
docs/format.md alone. Of each FILE it writes FILE.txt: all tokens, the roots, the file hash, the named snapshots, and what the
deltas FILE.*.delta and proofs FILE.*.proof show. `cargo xtask spec --independent` compares that with what the engine says.
"""

import concurrent.futures
import os
import pathlib
import sys

DIRECTORY = pathlib.Path(sys.argv[1])
sys.dont_write_bytecode = True
sys.path[:0] = [str(DIRECTORY / "generated"), str(DIRECTORY / "python")]

from canonical import file_hash  # noqa: E402
from deltas import describe_delta  # noqa: E402
from hashes import content_root, hash_of, own_hash  # noqa: E402
from pages import Damage, File, check  # noqa: E402
from proofs import verify  # noqa: E402
from tokens import apply, read_state  # noqa: E402

SHOWN_MAX = 64


def shown(value):
    """A value in a line."""
    if len(value) > SHOWN_MAX:
        return f"blake3:{hash_of(value).hex()}"
    return value.hex() or "-"


def describe_state(state, batches):
    """The lines of a state."""
    tokens, tag, lattice = read_state(state)
    if lattice is not None:
        kept = hash_of(b"shroom content root 1" + lattice)
        check(kept == content_root(tokens), "the sum that is kept")
    tokens, tag = apply(batches, tokens, tag)
    yield f"tag {tag}"
    yield f"page_root {state.page_root().hex()}"
    yield f"content_root {content_root(tokens).hex()}"
    yield f"file_hash {file_hash(tokens, tag, state.page_size).hex()}"
    yield f"tokens {len(tokens)}"
    for number, value in tokens.items():
        yield f"token {number} {len(value)} {shown(value)}"


def beside(path, ending):
    """What lies beside a file, by the number in its name: FILE.NUMBER.WHAT.ENDING."""
    found = path.parent.glob(f"{path.name}.*.{ending}")
    return sorted(found, key=lambda other: int(other.name.split(".")[-3]))


def describe(path):
    """The lines of a file, and of the deltas and proofs beside it."""
    file = File(path.read_bytes())
    yield f"page_size {file.superblock.page_size}"
    yield from describe_state(file.present, file.batches)
    for name, state in file.snapshots.items():
        yield f"snapshot {name}"
        yield from describe_state(state, [])
    for delta in beside(path, "delta"):
        yield describe_delta(delta.read_bytes(), file)
    for proof in beside(path, "proof"):
        wanted = int(proof.name.split(".")[-2])
        value = verify(proof.read_bytes(), file.present.page_root(), wanted)
        yield f"proof {wanted} {'absent' if value is None else shown(value)}"


def write(path):
    """Writes the description of a file, up to what is wrong with it."""
    lines = []
    try:
        lines.extend(describe(path))
    except Damage as damage:
        lines.append(f"damaged: {damage}")
    pathlib.Path(f"{path}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main():
    """Describes all files; the hash by our own code is that of the package."""
    for length in (0, 1, 64, 65, 1024, 1025, 5000):
        data = bytes(at % 251 for at in range(length))
        if own_hash(data, 131) != hash_of(data, 131):
            sys.exit("reader.py: its BLAKE3 is not the package's")
    paths = [pathlib.Path(argument) for argument in sys.argv[2:]]
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, paths, chunksize=4))


if __name__ == "__main__":
    main()
