"""Deltas between two named snapshots of a file: format 12."""

from hashes import hash_of
from pages import check, parse
from shroom import Shroom


def pages_between(earlier, later):
    """The pages of the later state that the earlier one has not in the same entry, in the order of the walk."""
    roots = later.superblock.map_height
    known = {} if earlier is None else earlier.hashed

    def walk(level, index):
        physical, expected = later.hashed[level, index]
        if known.get((level, index)) == (physical, expected):
            return
        yield physical
        if level:
            node = parse(Shroom.MapPage, later.physical(physical), later.page_size)
            for at, below in enumerate(node.physical):
                if below:
                    yield from walk(level - 1, index * node.fanout + at)

    for index, physical in enumerate(later.superblock.physical):
        if physical:
            yield from walk(roots, index)


def describe_delta(data, file):
    """The line of a delta, which leads from one named snapshot of the file, or from a new file, to another."""
    delta = parse(Shroom.Delta, data)
    head_len = 128 + delta.from_length + delta.to_length + delta.superblock.len
    check(hash_of(data[:32] + data[64:head_len]) == delta.hash, "hash of a delta's head")
    earlier = file.snapshots[delta.from_name] if delta.from_name else None
    later = file.snapshots[delta.to_name]
    check(earlier is None or earlier.page_root() == delta.from_root, "page root of the earlier state")
    check(later.page_root() == delta.to_root, "page root of the later state")
    place = file.places[delta.to_name]
    check(delta.place == place, "place of the frozen superblock")
    frozen = later.physical(place)
    check(data[head_len - delta.superblock.len : head_len] == frozen[: delta.superblock.len], "superblock")
    expected = list(pages_between(earlier, later))
    check([page.physical for page in delta.pages] == expected, "pages of a delta")
    check(all(page.bytes == later.physical(page.physical) for page in delta.pages), "bytes of a delta's page")
    check(delta.end == max([place, *expected]) + 1, "end of a delta")
    return f"delta {delta.from_name} {delta.to_name} {len(expected)}"
