"""The canonical image of a set of tokens: format 10, by the document alone."""

import bisect
import struct

from hashes import hash_of
from pages import numbers, shape
from tokens import width_of

HELD = 64


def pack_bytes(tokens):
    """A pack of (id, stored bytes, is a blob reference)."""
    ids = [number for number, _, _ in tokens]
    lengths = [len(stored) for _, stored, _ in tokens]
    base, count = ids[0], len(ids)
    id_width = 0 if ids[-1] - base == count - 1 else width_of(ids[-1] - base)
    is_uniform = len(set(lengths)) == 1
    total = sum(lengths)
    is_wide = not is_uniform and total > 255
    blobs = [is_blob for _, _, is_blob in tokens]
    kind = is_uniform | is_wide << 1 | any(blobs) << 2
    data = struct.pack("<QHBB", base, count, id_width, kind)
    if is_uniform:
        data += struct.pack("<H", lengths[0])
    if id_width:
        data += b"".join((number - base).to_bytes(id_width, "little") for number in ids[1:])
    if not is_uniform:
        end = 0
        for length in lengths:
            end += length
            data += end.to_bytes(2 if is_wide else 1, "little")
    if any(blobs):
        bits = sum(1 << index for index, is_blob in enumerate(blobs) if is_blob)
        data += bits.to_bytes((count + 7) // 8, "little")
    return data + b"".join(stored for _, stored, _ in tokens)


class Lengths:
    """Lengths of the packs of the first 1, 2, ... of some tokens, as far as they fit."""

    def __init__(self, tokens, capacity):
        self.found = []
        base, total, has_blobs, first, is_uniform = tokens[0][0], 0, False, len(tokens[0][1]), True
        for count, (number, stored, is_blob) in enumerate(tokens, 1):
            total += len(stored)
            has_blobs |= is_blob
            is_uniform &= len(stored) == first
            span = number - base
            id_width = 0 if span == count - 1 else width_of(span)
            length = 12 + (count - 1) * id_width + total
            length += 2 if is_uniform else count * (2 if total > 255 else 1)
            length += (count + 7) // 8 if has_blobs else 0
            if length > capacity or count > 65535:
                break
            self.found.append(length)


class Image:
    """The image while it is made."""

    def __init__(self, page_size):
        self.page_size = page_size
        self.capacity = page_size - 12
        self.pages = []
        # Number -> where its free segment begins; the room follows.
        self.held = {}
        self.order = []
        self.storage = []
        self.levels = []

    def begin(self, data=None):
        """The next logical page; its number."""
        self.pages.append(data)
        return len(self.pages)

    def room(self, number):
        """The largest data that a segment in a held page can have; below 0 when there is no free segment."""
        return self.page_size - self.held[number] - 4

    def place(self, data, number=None):
        """Puts a segment into a held page, or a new one; its address."""
        if number is None:
            number = self.begin(bytearray(self.page_size))
            struct.pack_into("<BBHHH", self.pages[number - 1], 0, 1, 0, 0, 0, 0)
            self.held[number] = 8
            self.storage.append(number)
            self.order.append(number)
            if len(self.order) > HELD:
                del self.held[self.order.pop(0)]
        page, at = self.pages[number - 1], self.held[number]
        left = self.room(number) - len(data)
        length = len(data) + (left if left < 4 else 0)
        struct.pack_into("<H", page, at, length)
        page[at + 2 : at + 2 + len(data)] = data
        end = at + 4 + length
        self.held[number] = end
        free = self.page_size - end
        if free:
            struct.pack_into("<H", page, end, free - 4)
        used = struct.unpack_from("<H", page, 2)[0] + 1
        struct.pack_into("<HHH", page, 2, used, end if free else 0, free)
        return number, at

    def rooms(self):
        """Room and number of the held pages, by room, then by number."""
        return sorted((self.room(number), number) for number in self.held)

    def blob(self, value):
        """Stores a large value; its reference."""
        size = self.page_size
        pages, rest = 0, 0
        if len(value) + 2 > self.capacity:
            pages, rest = divmod(len(value), size)
            if rest and size - rest <= len(value) // 32:
                pages, rest = pages + 1, 0
        extent = b""
        if pages:
            first = len(self.pages) + 1
            for at in range(0, pages * size, size):
                self.begin(value[at : at + size].ljust(size, b"\0"))
            extent = struct.pack("<II", first, pages)
        data = struct.pack("<H", 1 if pages else 0) + extent + value[pages * size :]
        fitting = [pair for pair in self.rooms() if pair[0] >= len(data)]
        page, offset = self.place(data, fitting[0][1] if fitting else None)
        return struct.pack("<IHQ", page, offset, len(value))

    def pack(self, waiting):
        """Makes the next pack of the tokens that wait; how many it has."""
        lengths = Lengths(waiting, self.capacity).found
        count = len(lengths)
        rooms = self.rooms()

        def best(length):
            at = bisect.bisect_left(rooms, (length, 0))
            return rooms[at] if at < len(rooms) else None

        chosen = best(lengths[-1])
        if chosen is not None:
            return self.finish(waiting[:count], chosen[1])
        least = None
        for shorter in range(1, count):
            pair = best(lengths[shorter - 1])
            if pair is None:
                break
            left = pair[0] - lengths[shorter - 1]
            if 8 * left <= pair[0] and (least is None or left < least[0]):
                least = left, shorter, pair[1]
        if least is not None:
            return self.finish(waiting[: least[1]], least[2])
        return self.finish(waiting[:count], None)

    def finish(self, tokens, number):
        """Stores a pack, and its entry in the directory."""
        page, offset = self.place(pack_bytes(tokens), number)
        self.enter(0, (tokens[0][0], page, offset))
        return len(tokens)

    def enter(self, level, entry):
        """Adds an entry to the last page of a level."""
        if level == len(self.levels):
            self.levels.append([])
        entries = self.levels[level]
        if entries and self.node(level, [*entries, entry]) is None:
            self.close(level)
            entries = self.levels[level]
        entries.append(entry)

    def close(self, level):
        """Begins the last page of a level, whose entry goes to the level above."""
        entries = self.levels[level]
        self.levels[level] = []
        number = self.begin(self.node(level, entries))
        self.enter(level + 1, (entries[0][0], number, 0))

    def node(self, level, entries):
        """A directory page; None when the entries do not fit."""
        columns = list(zip(*entries))
        bases = [min(column) for column in columns]
        widths = [width_of(max(column) - base) for column, base in zip(columns, bases)]
        if 22 + len(entries) * sum(widths) > self.page_size or len(entries) > 65535:
            return None
        data = struct.pack("<BBHB", 2, 4 if level else 3, len(entries), level) + bytes(widths)
        data += struct.pack("<QIH", *bases)
        for column, base, width in zip(columns, bases, widths):
            data += b"".join((number - base).to_bytes(width, "little") for number in column)
        return data.ljust(self.page_size, b"\0")

    def directory(self, tokens):
        """Stores all tokens; the token root."""
        waiting = []
        inline = self.page_size // 4
        for number, value in tokens.items():
            is_blob = len(value) > inline
            stored = self.blob(value) if is_blob else value
            waiting.append((number, stored, is_blob))
            while not self.fits(waiting):
                del waiting[: self.pack(waiting)]
        while waiting:
            del waiting[: self.pack(waiting)]
        if not tokens:
            return bytes(32)
        level = 0
        while level + 1 < len(self.levels) or len(self.levels[level]) > 1:
            self.close(level)
            level += 1
        _, page, offset = self.levels[level][0]
        payload = sum(map(len, tokens.values()))
        return struct.pack("<B3xIH6xQQ", level + 1, page, offset, len(tokens), payload)

    def fits(self, waiting):
        """Whether one pack of capacity holds all that wait."""
        # Most often they are far from it; the lengths are computed when they may not be.
        if len(waiting) <= 65535 and sum(len(stored) + 11 for _, stored, _ in waiting) + 14 <= self.capacity:
            return True
        return len(Lengths(waiting, self.capacity).found) == len(waiting)

    def free_index(self):
        """Writes the free-space index; the segment root."""
        size, unit = self.page_size, self.page_size // 256
        classes, free_bytes = {}, 0
        for number in self.storage:
            page = self.pages[number - 1]
            head, free = struct.unpack_from("<HH", page, 4)
            free_bytes += free
            if head:
                largest = struct.unpack_from("<H", page, head)[0]
                if largest >= unit:
                    classes[number] = min(254, largest // unit)
        root = [0, 0, len(self.storage), free_bytes, bytes(40)]
        if not self.storage:
            return bytes(64)
        if all(number < 40 for number in classes):
            root[4] = bytes(classes.get(number, 0) for number in range(40))
        else:
            root[0], root[1] = self.index_pages(classes)
        return struct.pack("<B3xII4xQ40s", *root)

    def index_pages(self, classes):
        """The pages of the index; its height and the root."""
        size = self.page_size
        leaf_len, fanout = size - 8, (size - 8) // 5
        level, blocks = 0, {}
        for number, value in classes.items():
            leaf = blocks.setdefault(number // leaf_len, bytearray(leaf_len))
            leaf[number % leaf_len] = value
        found = {}
        for index, leaf in sorted(blocks.items()):
            used = sum(1 for value in leaf if value)
            number = self.begin(struct.pack("<BBHI", 2, 1, min(used, 65535), 0) + bytes(leaf))
            found[index] = number, max(leaf)
        while set(found) != {0}:
            level += 1
            above = {}
            for index, pair in found.items():
                above.setdefault(index // fanout, {})[index % fanout] = pair
            found = {}
            for index, below in sorted(above.items()):
                pairs = [below.get(at, (0, 0)) for at in range(fanout)]
                data = struct.pack("<BBHI", 2, 2, len(below), 0)
                data += b"".join(struct.pack("<I", child) for child, _ in pairs)
                data += bytes(most for _, most in pairs)
                number = self.begin(data.ljust(size, b"\0"))
                found[index] = number, max(most for _, most in pairs)
        return level + 1, found[0][0]


def image(tokens, tag, page_size):
    """The bytes of the canonical image."""
    made = Image(page_size)
    token_root = made.directory(tokens)
    segment_root = made.free_index()
    roots = segment_root + token_root + struct.pack("<Q24x", tag)
    logical_pages = len(made.pages) + 1
    height, root_entries = shape(page_size, logical_pages)
    length, _, fanout = numbers(page_size)
    pages = []
    absent = 0, bytes(32)
    # The entries of the open page of each level; logical page 0 is absent.
    open_entries = [[] for _ in range(height + 1)]
    open_entries[0].append(absent)

    def append(level, data):
        pages.append(data)
        open_entries[level].append((len(pages) + 1, hash_of(data)))

    def close_map_page(level):
        entries = open_entries[level]
        present = sum(1 for physical, _ in entries if physical)
        entries += [absent] * (fanout - len(entries))
        data = struct.pack("<BBHI", 3, level, present, 0)
        data += b"".join(struct.pack("<I", physical) for physical, _ in entries)
        data += b"".join(digest for _, digest in entries)
        open_entries[level] = []
        append(level + 1, data.ljust(page_size, b"\0"))

    for data in made.pages:
        append(0, bytes(data))
        for level in range(height):
            if len(open_entries[level]) == fanout:
                close_map_page(level)
    for level in range(height):
        if open_entries[level]:
            close_map_page(level)
    root = open_entries[height]
    assert len(root) == root_entries
    tail = b"".join(struct.pack("<I", physical) for physical, _ in root)
    tail += b"".join(digest for _, digest in root) + b"\0\0"
    head = struct.pack("<8sHBBIQ", b"SHROOMDB", 1, page_size.bit_length() - 1, height, 0, 1)
    rest = struct.pack("<IIIIII", logical_pages, len(pages) + 2, root_entries, 0, 0, 2)
    rest += bytes(32 + 16 + 16) + roots + tail
    rest = rest.ljust(length - 56, b"\0")
    block = (head + hash_of(head + rest) + rest).ljust(page_size, b"\0")
    return block + block + b"".join(pages)


def file_hash(tokens, tag, page_size):
    """Format 10."""
    return hash_of(image(tokens, tag, page_size))
