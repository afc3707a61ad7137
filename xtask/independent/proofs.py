"""The verification of proofs: format 13."""

from hashes import CHUNK_LEN, chunk_value, hash_of, left_chunks, parent_value
from pages import Damage, check, numbers, parse, shape
from shroom import Shroom


def need(data, at, length):
    """So many bytes from a place on."""
    check(at + length <= len(data), "the proof ends")
    return data[at : at + length]


class Chunks:
    """A string of which some chunks are there (13.1)."""

    def __init__(self, data, at, length):
        self.length = length
        count = -(-length // CHUNK_LEN)
        mask = parse(Shroom.ChunkMask, data[at:], length, whole=False).mask
        at += len(mask)
        known = int.from_bytes(mask, "little")
        check(known != 0 and known >> count == 0, "a mask of chunks")
        self.chunks = {}
        for index in range(count):
            if known >> index & 1:
                self.chunks[index] = need(data, at, min(CHUNK_LEN, length - index * CHUNK_LEN))
                at += len(self.chunks[index])
        self.values = {}
        for subtree in self._subtrees(0, count):
            self.values[subtree] = need(data, at, 32)
            at += 32
        self.end = at
        self.used = set()
        self.digest = self._value(0, count, True)

    def _subtrees(self, first, count):
        """The largest subtrees without a chunk that is there, from the left."""
        if not any(index in self.chunks for index in range(first, first + count)):
            yield first, count
        elif count > 1:
            left = left_chunks(count)
            yield from self._subtrees(first, left)
            yield from self._subtrees(first + left, count - left)

    def _value(self, first, count, is_root=False):
        if (first, count) in self.values:
            return self.values[first, count]
        if count == 1:
            return chunk_value(self.chunks[first], first, is_root)
        if is_root and len(self.chunks) == count:
            return hash_of(b"".join(self.chunks[index] for index in range(count)))
        left = left_chunks(count)
        return parent_value(
            self._value(first, left), self._value(first + left, count - left), is_root
        )

    def read(self, at, length):
        """Bytes that must be there."""
        check(at + length <= self.length, "bytes behind the end of a page")
        data = b""
        while length:
            index, start = divmod(at, CHUNK_LEN)
            check(index in self.chunks, f"byte {at} is not there")
            self.used.add(index)
            piece = self.chunks[index][start : start + length]
            data += piece
            at, length = at + len(piece), length - len(piece)
        return data

    def number(self, at, width):
        """A number that must be there."""
        return int.from_bytes(self.read(at, width), "little")


class Proof:
    """A proof under a page root; 13.3, steps 1 and 2."""

    def __init__(self, data, page_root):
        head = parse(Shroom.ProofHead, data[:10])
        self.page_size = 1 << head.page_shift
        # The first chunk begins behind the mask, which has a single byte: its input is short enough for eight chunks.
        logical_pages = int.from_bytes(need(data, 11 + 19, 4), "little")
        root_entries = int.from_bytes(need(data, 11 + 23, 4), "little")
        form = shape(self.page_size, logical_pages)
        check(form is not None and logical_pages > 0 and form[1] == root_entries, "shape of the map")
        self.height = form[0]
        self.head = Chunks(data, 10, 155 + 36 * root_entries)
        check(self.head.digest == page_root, "the proof is of another page root")
        check(self.head.read(0, 19) == b"shroom page root 2" + bytes([self.height]), "page root input")
        self.root_entries, self.logical_pages = root_entries, logical_pages
        self.records, before, at = {}, None, self.head.end
        while at < len(data):
            record = parse(Shroom.ProofRecord, need(data, at, 5))
            place = record.level, record.index
            check(before is None or before < place, "order of records")
            self.records[place] = Chunks(data, at + 5, self.page_size)
            before, at = place, self.records[place].end

    def page(self, number):
        """The chunks of a logical page, under the page root."""
        check(0 < number < self.logical_pages, "a page number")
        _, _, fanout = numbers(self.page_size)
        referrer = None
        for level in range(self.height, -1, -1):
            index = number // fanout**level
            if referrer is None:
                expected = self.head.read(155 + 4 * self.root_entries + 32 * index, 32)
            else:
                expected = referrer.read(8 + 4 * fanout + 32 * (index % fanout), 32)
            check(any(expected), "a page that is absent")
            check((level, index) in self.records, "a page that is not in the proof")
            referrer = self.records[level, index]
            check(referrer.digest == expected, "hash of a page")
        return referrer

    def check_used(self):
        """Step 6."""
        for chunks in [self.head, *self.records.values()]:
            check(chunks.used == set(chunks.chunks), "chunks that nothing needs")


def search(count, number_at, wanted):
    """How many of so many ids come before the first above."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if number_at(middle) <= wanted:
            low = middle + 1
        else:
            high = middle
    return low


def in_pack(proof, page, offset, wanted, first):
    """Step 4: the value, None, or a blob reference as (page, offset, length)."""
    chunks = proof.page(page)
    check(chunks.read(0, 2) == b"\1\0", "a storage page")
    length = chunks.number(offset, 2)
    data, end = offset + 2, offset + 2 + length
    check(offset >= 8 and end + 2 <= proof.page_size, "a segment")
    base = chunks.number(data, 8)
    count, id_width, kind = chunks.number(data + 8, 2), chunks.number(data + 10, 1), chunks.number(data + 11, 1)
    check(first in (None, base) and count > 0 and id_width <= 8 and kind in (0, 1, 2, 4, 5, 6), "a pack's header")
    at = data + 12
    common = None
    if kind & 1:
        common = chunks.number(at, 2)
        at += 2
    ids, ends = at, at + (count - 1) * id_width
    end_width = 0 if kind & 1 else 2 if kind & 2 else 1
    bitmap = ends + count * end_width
    values = bitmap + ((count + 7) // 8 if kind & 4 else 0)
    if wanted < base:
        return None
    if id_width == 0:
        index = wanted - base
        if index >= count:
            return None
    else:
        offset_of = lambda at: chunks.number(ids + at * id_width, id_width)
        index = search(count - 1, offset_of, wanted - base)
        if (0 if index == 0 else offset_of(index - 1)) != wanted - base:
            return None
    if common is not None:
        start, stop = index * common, (index + 1) * common
    else:
        start = chunks.number(ends + (index - 1) * end_width, end_width) if index else 0
        stop = chunks.number(ends + index * end_width, end_width)
    check(start <= stop and values + stop <= end, "the end of a value")
    is_blob = kind & 4 and chunks.number(bitmap + index // 8, 1) >> (index % 8) & 1
    stored = chunks.read(values + start, stop - start)
    return in_blob(proof, parse(Shroom.BlobReference, stored)) if is_blob else stored


def in_blob(proof, reference):
    """Step 5."""
    page, offset, chain = reference.page, reference.offset, b""
    whole = lambda number: proof.page(number).read(0, proof.page_size)
    for _ in range(len(proof.records) * proof.page_size):
        segment = parse(Shroom.Segment, whole(page)[offset:], whole=False)
        chain += segment.data
        if segment.next == 0:
            break
        page, offset = (segment.far.page, segment.far.offset) if segment.next == 1 else (page, segment.next)
    data = parse(Shroom.BlobData, chain)
    pages = [number for extent in data.extents for number in range(extent.first, extent.first + extent.pages)]
    value = b"".join(map(whole, pages)) + data.tail
    excess = value[reference.length :]
    check(len(value) >= reference.length and not any(excess), "length of a blob")
    return value[: reference.length]


def verify(data, page_root, wanted):
    """What a proof shows of an id: its value, or None. Raises Damage when it shows nothing."""
    proof = Proof(data, page_root)
    # The token root is behind 27 bytes and the segment root.
    root = parse(Shroom.TokenRoot, proof.head.read(27 + 64, 32))
    page, offset, first = root.page, root.offset, None
    value = None
    for level in range(root.height - 2, -1, -1):
        chunks = proof.page(page)
        # Widths and bases are in the first chunk; the columns are read one number at a time.
        page_type, kind, used_low, used_high, found, *widths = chunks.read(0, 8)
        used = used_low | used_high << 8
        check((page_type, kind, found) == (2, 4 if level else 3, level) and used > 0, "a directory page")
        base_id, base_page, base_offset = chunks.number(8, 8), chunks.number(16, 4), chunks.number(20, 2)
        starts = [22, 22 + used * widths[0], 22 + used * (widths[0] + widths[1])]
        column = lambda at, which: chunks.number(starts[which] + at * widths[which], widths[which])
        check(first in (None, (base_id + column(0, 0)) % 2**64), "first id of a directory page")
        if wanted < base_id:
            break
        index = search(used, lambda at: column(at, 0), wanted - base_id) - 1
        if index < 0:
            break
        page = (base_page + column(index, 1)) % 2**32
        offset = (base_offset + column(index, 2)) % 2**16
        first = (base_id + column(index, 0)) % 2**64
    else:
        if root.height:
            value = in_pack(proof, page, offset, wanted, first)
    proof.check_used()
    return value


__all__ = ["Damage", "verify"]
