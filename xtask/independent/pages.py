"""Superblocks, the page map, the free record, named snapshots and the journal: format 2 to 4."""

from io import BytesIO

import xxhash
from hashes import hash_of
from kaitaistruct import KaitaiStream, KaitaiStructError
from shroom import Shroom

NONE = bytes(32)


class Damage(Exception):
    """The file breaks an invariant of the format."""


def check(holds, what):
    """Raises Damage when something does not hold."""
    if not holds:
        raise Damage(what)


def parse(structure, data, *parameters, whole=True):
    """A structure of format.ksy over bytes, all of them unless said otherwise."""
    stream = KaitaiStream(BytesIO(data))
    try:
        parsed = structure(*parameters, stream)
    except (KaitaiStructError, EOFError, UnicodeDecodeError) as error:
        raise Damage(f"{structure.__name__}: {error}") from error
    check(not whole or stream.is_eof(), f"{structure.__name__}: bytes follow it")
    return parsed


def numbers(page_size):
    """S, R and F of format 1."""
    length = min(page_size, 4096)
    return length, (length - 272) // 36, (page_size - 8) // 36


def shape(page_size, logical_pages):
    """Height and root entries of the page map, or None."""
    _, most, fanout = numbers(page_size)
    for height in range(8):
        entries = -(-logical_pages // fanout**height)
        if entries <= most:
            return height, entries
    return None


def number_of(varint):
    """The value of a LEB128 number."""
    check(varint.is_shortest, "a number is not in its shortest form")
    return varint.value


def superblock_at(file, offset, expected_size=None):
    """The superblock at an offset, or why there is none (format 2.1, I3 to I6)."""
    found = parse(Shroom.Superblock, file[offset : offset + 4096], whole=False)
    size = found.page_size
    check(expected_size in (None, size), "a superblock of another page size")
    data = file[offset : offset + found.len]
    check(len(data) == found.len, "shorter than a superblock")
    check(hash_of(data[:24] + data[56:]) == found.hash, "a superblock's hash")
    check(not any(found.zeros), "zeros of a superblock")
    check((found.map_height, found.root_entries) == shape(size, found.logical_pages), "shape of the map")
    check(0 < found.sequence < 1 << 63 and found.drained < 1 << 63, "a sequence")
    check(found.logical_pages > 0 and found.physical_pages >= 2, "a count of pages")
    check(found.free_pages > 0 or found.free_hash == NONE, "the hash of a free record in the tail")
    check(found.free_bytes <= (found.free_pages * size if found.free_pages else 1 << 32), "free record")
    runs = [*found.journal, Run(found.free_first, found.free_pages)]
    end = 2
    for first, pages in sorted((run.first, run.pages) for run in runs if (run.first, run.pages) != (0, 0)):
        check(first >= end and pages > 0, "runs overlap")
        end = first + pages
    check(end <= found.physical_pages, "a run behind the end of the file")
    return found, data


class Run:
    """A run of pages."""

    def __init__(self, first, pages):
        self.first, self.pages = first, pages


def choose(file):
    """The valid superblock with the highest sequence."""
    try:
        best = superblock_at(file, 0)
    except Damage:
        best = None
    sizes = [1 << shift for shift in range(9, 17)] if best is None else [best[0].page_size]
    for size in sizes:
        try:
            second = superblock_at(file, size, size)
        except Damage:
            continue
        if best is None or second[0].sequence > best[0].sequence:
            best = second
        elif second[0].sequence == best[0].sequence:
            check(second[1] == best[1], "two superblocks of one sequence")
        break
    check(best is not None, "no valid superblock")
    return best[0]


class State:
    """A superblock and the pages under it, each with the hash that its referrer holds."""

    def __init__(self, file, superblock, file_pages):
        self.file = file
        self.superblock = superblock
        self.page_size = superblock.page_size
        # (level, index) -> physical page; level 0 are logical pages, n map pages of level n - 1.
        self.entries = {}
        # The same with the hash.
        self.hashed = {}
        self._walk(file_pages)

    def physical(self, number):
        """The bytes of a physical page."""
        return self.file[number * self.page_size : (number + 1) * self.page_size]

    def _walk(self, file_pages):
        _, _, fanout = numbers(self.page_size)
        block = self.superblock
        level = [(index, *pair) for index, pair in enumerate(zip(block.physical, block.hashes))]
        for height in range(block.map_height, -1, -1):
            below = []
            for index, physical, expected in level:
                if physical == 0:
                    check(expected == NONE, "an absent entry with a hash")
                    continue
                check(2 <= physical < file_pages, "an entry outside the file")
                page = self.physical(physical)
                check(hash_of(page) == expected, f"hash of page {index} of level {height}")
                self.entries[height, index] = physical
                self.hashed[height, index] = physical, expected
                if height == 0:
                    continue
                node = parse(Shroom.MapPage, page, self.page_size)
                header = node.header
                present = sum(1 for physical in node.physical if physical)
                kind = (header.page_type, header.kind, header.used)
                check(kind == (Shroom.PageType.map, height - 1, present) and present, "a map page's header")
                check(not any(node.zeros), "zeros of a map page")
                pairs = enumerate(zip(node.physical, node.hashes))
                below += [(index * fanout + at, *pair) for at, pair in pairs]
            level = below
        logical = [index for height, index in self.entries if height == 0]
        check(all(0 < index < block.logical_pages for index in logical), "an entry of no logical page")

    def page(self, logical):
        """The bytes of a logical page."""
        check((0, logical) in self.entries, f"logical page {logical} is not there")
        return self.physical(self.entries[0, logical])

    def logical_pages(self):
        """The numbers of the logical pages that are not free."""
        return [index for height, index in self.entries if height == 0]

    def page_root(self):
        """Format 3."""
        block = self.superblock
        data = b"shroom page root 2" + bytes([block.map_height])
        data += block.logical_pages.to_bytes(4, "little") + block.root_entries.to_bytes(4, "little")
        data += block._raw_roots
        data += b"".join(physical.to_bytes(4, "little") for physical in block.physical)
        data += b"".join(block.hashes)
        check(parse(Shroom.PageRootInput, data).root_entries == block.root_entries, "page root input")
        return hash_of(data)


class File:
    """The present state of a file, its named snapshots and the batches that its journal adds."""

    def __init__(self, file):
        self.file = file
        block = choose(file)
        self.superblock = block
        check(len(file) >= block.physical_pages * block.page_size, "the file is cut off")
        self.present = State(file, block, block.physical_pages)
        self.free, self.free_logical, named = self._free_record()
        self.snapshots = {name: self._snapshot(place, expected) for name, place, expected in named}
        self.places = {name: place for name, place, _ in named}
        self._account(self.places.values())
        self.batches = self._journal()

    def _free_record(self):
        block = self.superblock
        if block.free_pages:
            start = block.free_first * block.page_size
            record = self.file[start : start + block.free_bytes]
            check(hash_of(record) == block.free_hash, "hash of the free record")
        else:
            record = block.raw_free_record
        found = parse(Shroom.FreeRecord, record)

        def pages(runs, lowest, limit):
            end, free = 0, set()
            check(number_of(runs.count) == len(runs.runs), "a count")
            for index, run in enumerate(runs.runs):
                gap, length = number_of(run.gap), number_of(run.length)
                check(length > 0 and (gap > 0 or index == 0), "an empty run or gap")
                first, end = end + gap, end + gap + length
                check(lowest <= first and end <= limit, "a free run outside the file")
                free.update(range(first, end))
            return free

        named = []
        if hasattr(found, "named") and found.named is not None:
            check(number_of(found.named.count) > 0, "an empty list of named snapshots")
            named = [(entry.name, entry.page, entry.hash) for entry in found.named.snapshots]
            names = [name.encode() for name, _, _ in named]
            check(names == sorted(set(names)), "order of the names")
            letters = "".join(name for name, _, _ in named)
            check(all(ord(letter) > 0x9F or 0x20 <= ord(letter) < 0x7F for letter in letters), "a name")
        physical = pages(found.physical, 2, block.physical_pages)
        return physical, pages(found.logical, 1, block.logical_pages), named

    def _snapshot(self, place, expected):
        block = self.superblock
        check(2 <= place < block.physical_pages, "place of a named snapshot")
        page = self.present.physical(place)
        check(hash_of(page) == expected, "hash of a named snapshot")
        frozen, data = superblock_at(page, 0, block.page_size)
        check(not any(page[len(data) :]), "zeros behind a frozen superblock")
        plain = [frozen.free_pages, frozen.free_bytes, frozen.drained, frozen.chain]
        plain += [number for run in frozen.journal for number in (run.first, run.pages)]
        check(not any(plain), "a frozen superblock with a journal or free pages")
        check(frozen.sequence <= block.sequence, "sequence of a named snapshot")
        return State(self.file, frozen, block.physical_pages)

    def _account(self, places):
        """I2 and I12: each physical page has one use, and states share pages in the same entry only."""
        block = self.superblock
        uses = {}
        for state in [self.present, *self.snapshots.values()]:
            for entry, physical in state.entries.items():
                check(uses.setdefault(physical, entry) == entry, f"page {physical} is used twice")
        runs = [*block.journal, Run(block.free_first, block.free_pages), *(Run(place, 1) for place in places)]
        for run in runs:
            for physical in range(run.first, run.first + run.pages):
                check(physical not in uses, f"page {physical} is used twice")
                uses[physical] = None
        every = set(range(2, block.physical_pages))
        check(every - set(uses) == self.free, "the free pages are those without a use")
        absent = set(range(1, block.logical_pages)) - set(self.present.logical_pages())
        check(absent == self.free_logical, "the free logical pages are those that are absent")

    def _journal(self):
        """Format 4.2: the payloads that continue the pages."""
        block = self.superblock
        areas = []
        for run in block.journal:
            data = self.file[run.first * block.page_size : (run.first + run.pages) * block.page_size]
            areas.append((data, *frames_of(data, block)))
        mark = (block.drained, block.chain)
        payloads, alive = [], set()
        for _ in areas:
            for index, (_, frames, _) in enumerate(areas):
                if frames and (frames[0].sequence, frames[0].previous) == (mark[0] + 1, mark[1]):
                    payloads += [frame.payload for frame in frames]
                    mark = (frames[-1].sequence, frames[-1].checksum)
                    alive.add(index)
                    break
        for index, (data, _, end) in enumerate(areas):
            for at in range(end if index in alive else 0, len(data) - 40 + 1, 8):
                sequence = int.from_bytes(data[at + 16 : at + 24], "little")
                synced = int.from_bytes(data[at + 24 : at + 32], "little")
                if mark[0] < synced < sequence:
                    check(frame_at(data, at) is None, "frames that were durable are missing")
        return [parse(Shroom.Batch, payload) for payload in payloads]


def frame_at(data, at):
    """The frame at a place of a journal area whose checksum is right, or None."""
    length = int.from_bytes(data[at + 36 : at + 40], "little")
    if at + 40 > len(data) or length == 0 or at + 40 + length > len(data):
        return None
    frame = parse(Shroom.Frame, data[at : at + 40 + length])
    is_right = xxhash.xxh3_64_intdigest(data[at + 8 : at + 40 + length]) == frame.checksum
    return frame if is_right else None


def frames_of(data, block):
    """Steps 1 and 2: the frames of an area that are not in the pages, and where the last one ends."""
    frames, at, end, before = [], 0, 0, None
    while True:
        frame = frame_at(data, at)
        if frame is None or frame.sequence >= 1 << 63:
            break
        if before is not None and (frame.previous, frame.sequence, frame.epoch) != (
            before.checksum,
            before.sequence + 1,
            before.epoch,
        ):
            break
        frames.append(frame)
        if (frame.sequence, frame.checksum) == (block.drained, block.chain):
            frames = []
        before = frame
        at += -(-(40 + frame.length) // 8) * 8
        end = at
    return frames, end
