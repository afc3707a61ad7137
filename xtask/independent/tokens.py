"""Segments, blobs, packs, the directory, the free-space index and operations: format 5 to 9."""

from pages import check, number_of, parse
from shroom import Shroom


class Storage:
    """The storage pages of a state, and which of their segments have been reached."""

    def __init__(self, state):
        self.state = state
        self.pages = {}
        self.reached = set()
        self.extent_pages = set()

    def page(self, number):
        """Live segments by offset, the free bytes and the largest free segment: I17."""
        if number in self.pages:
            return self.pages[number]
        found = parse(Shroom.StoragePage, self.state.page(number))
        segments, offset = {}, 8
        for segment in found.segments:
            segments[offset] = segment
            offset += 4 + segment.length + (6 if segment.next == 1 else 0)
        free, at = [], found.free_head
        while at:
            check(at in segments and (not free or at > free[-1]), "the list of free segments")
            check(segments[at].next != 1 and not any(segments[at].data), "a free segment")
            free.append(at)
            at = segments[at].next
        ends = {at + 4 + segments[at].length for at in free}
        check(not ends & set(free), "two free segments side by side")
        check(found.free_bytes == sum(4 + segments[at].length for at in free), "free_bytes")
        check(found.used == len(segments) - len(free), "used")
        largest = max((segments[at].length for at in free), default=None)
        live = {at: segment for at, segment in segments.items() if at not in free}
        self.pages[number] = live, found.free_bytes, largest
        return self.pages[number]

    def chain(self, page, offset, is_one=False):
        """The data of a chain, slack included: I18."""
        pieces = []
        while True:
            live, _, _ = self.page(page)
            check(offset in live, f"no segment at {page}+{offset}")
            check((page, offset) not in self.reached, f"the segment at {page}+{offset} has two referrers")
            self.reached.add((page, offset))
            segment = live[offset]
            pieces.append(segment.data)
            if segment.next == 0:
                break
            check(not is_one, "a pack that is chained")
            if segment.next == 1:
                page, offset = segment.far.page, segment.far.offset
            else:
                offset = segment.next
        check(len(pieces) == 1 or all(pieces), "an empty segment in a chain")
        return b"".join(pieces)

    def blob(self, page, offset, length):
        """The value of a blob: I19."""
        data = parse(Shroom.BlobData, self.chain(page, offset))
        pieces = []
        for extent in data.extents:
            for number in range(extent.first, extent.first + extent.pages):
                check(number not in self.extent_pages, f"page {number} is in two extents")
                self.extent_pages.add(number)
                pieces.append(self.state.page(number))
        value = b"".join(pieces)
        if len(value) > length:
            check(len(value) - length < self.state.page_size and not any(value[length:]), "padding of a blob")
            value = value[:length]
        rest = length - len(value)
        check_slack(data.tail, rest)
        return value + data.tail[:rest]


def check_slack(data, length):
    """At most 3 zeros lie behind so many bytes."""
    check(length <= len(data) <= length + 3 and not any(data[length:]), "slack")


def width_of(number):
    """Bytes that a number needs."""
    return (number.bit_length() + 7) // 8


def read_pack(storage, page, offset):
    """Ids and values of a pack: I22 and I23."""
    pack = parse(Shroom.Pack, storage.chain(page, offset, is_one=True))
    if pack.id_width:
        ids = [pack.base, *(pack.base + number.value for number in pack.ids)]
    else:
        ids = list(range(pack.base, pack.base + pack.count))
    check(all(low < high for low, high in zip(ids, ids[1:])) and ids[-1] < 1 << 64, "ids of a pack")
    span = ids[-1] - ids[0]
    check(pack.id_width == (0 if span == pack.count - 1 else width_of(span)), "id_width")
    if pack.is_uniform:
        ends = [pack.length * (index + 1) for index in range(pack.count)]
    else:
        ends = [number.value for number in pack.ends]
    starts = [0, *ends[:-1]]
    lengths = [end - start for start, end in zip(starts, ends)]
    check(min(lengths) >= 0, "ends of a pack")
    check(pack.is_uniform == (len(set(lengths)) == 1), "bit 0 of a pack's kind")
    check((pack.end_width == 2) == (not pack.is_uniform and ends[-1] > 255), "bit 1 of a pack's kind")
    check_slack(pack.values, ends[-1])
    blobs = int.from_bytes(pack.bitmap, "little")
    check(pack.has_blobs == (blobs != 0) and blobs >> pack.count == 0, "the bitmap of a pack")
    tokens = []
    inline = storage.state.page_size // 4
    for index, (number, start, end) in enumerate(zip(ids, starts, ends)):
        value = pack.values[start:end]
        if blobs >> index & 1:
            reference = parse(Shroom.BlobReference, value)
            check(reference.length > inline, "a blob that is short")
            value = storage.blob(reference.page, reference.offset, reference.length)
        else:
            check(len(value) <= inline, "a value in a pack that is long")
        tokens.append((number, value))
    return tokens


class Directory:
    """The packs of a state in order: I24."""

    def __init__(self, storage, root):
        self.storage = storage
        self.pages = set()
        self.tokens = {}
        if root.height == 0:
            fields = (root.page, root.offset, root.tokens, root.payload)
            check(not any(fields), "the token root of no tokens")
        elif root.height == 1:
            self._pack(root.page, root.offset, None)
        else:
            check(root.offset == 0, "the token root's offset")
            self._page(root.page, root.height - 2, None)
        check(len(self.tokens) == root.tokens, "number of tokens")
        check(sum(map(len, self.tokens.values())) == root.payload, "sum of lengths")

    def _pack(self, page, offset, first):
        tokens = read_pack(self.storage, page, offset)
        check(first in (None, tokens[0][0]), "first id of a pack")
        check(not self.tokens or next(reversed(self.tokens)) < tokens[0][0], "order of packs")
        self.tokens.update(tokens)

    def _page(self, number, level, first):
        check(number not in self.pages, "a directory page with two referrers")
        self.pages.add(number)
        node = parse(Shroom.DirectoryPage, self.storage.state.page(number))
        check((node.level, node.kind) == (level, 4 if level else 3), "level of a directory page")
        check(not any(node.zeros), "zeros of a directory page")
        columns = [
            [column.value for column in columns] for columns in (node.ids, node.pages, node.offsets)
        ]
        widths = [node.id_width, node.page_width, node.offset_width]
        check(all(min(column) == 0 for column in columns), "bases of a directory page")
        check([width_of(max(column)) for column in columns] == widths, "widths of a directory page")
        check(level == 0 or (node.base_offset, widths[2]) == (0, 0), "offsets in a directory node")
        ids = [node.base_id + number for number in columns[0]]
        check(all(low < high for low, high in zip(ids, ids[1:])), "ids of a directory page")
        check(first in (None, ids[0]), "first id of a directory page")
        for number, page, offset in zip(ids, columns[1], columns[2]):
            if level:
                self._page(node.base_page + page, level - 1, number)
            else:
                self._pack(node.base_page + page, node.base_offset + offset, number)


def read_free_index(state, root):
    """The pages of the free-space index, and the classes that it has: I21."""
    page_size = state.page_size
    leaf_len, fanout = page_size - 8, (page_size - 8) // 5
    pages, classes = set(), {}

    def block(number, level, index):
        check(number not in pages, "an index page with two referrers")
        pages.add(number)
        data = state.page(number)
        if level == 0:
            leaf = parse(Shroom.FreeIndexLeaf, data)
            kind, maxima = 1, leaf.classes
            header, used = leaf.header, sum(1 for value in maxima if value)
            classes.update((index * leaf_len + at, value) for at, value in enumerate(maxima) if value)
        else:
            node = parse(Shroom.FreeIndexNode, data, page_size)
            kind, maxima = 2, node.maxima
            header, used = node.header, sum(1 for child in node.children if child)
            check(not any(node.zeros), "zeros of a free-index node")
            for at, (child, most) in enumerate(zip(node.children, maxima)):
                found = block(child, level - 1, index * fanout + at) if child else 0
                check(found == most, "a maximum in the free-space index")
        check((header.page_type, header.kind) == (Shroom.PageType.index, kind), "kind of an index page")
        check(header.used == min(used, 65535), "used of an index page")
        check(max(maxima) in range(1, 255), "classes of an index page")
        return max(maxima)

    if root.height:
        check(not any(root.classes), "classes beside an index page")
        block(root.root, root.height - 1, 0)
    else:
        check(root.root == 0, "an index page at height 0")
        classes.update((at, value) for at, value in enumerate(root.classes) if value)
    return pages, classes


def read_state(state):
    """The tokens in the pages of a state, and its tag; every page is accounted for (I20)."""
    roots = state.superblock.roots
    storage = Storage(state)
    directory = Directory(storage, roots.token)
    application = roots.application
    lattice = None
    if application.flags:
        lattice = storage.blob(application.lattice.page, application.lattice.offset, 2048)
    else:
        check((application.lattice.page, application.lattice.offset) == (0, 0), "a sum that is not kept")
    index_pages, classes = read_free_index(state, roots.seg)
    storage_pages = set(storage.pages)
    kinds = [directory.pages, index_pages, storage.extent_pages, storage_pages]
    check(sum(map(len, kinds)) == len(set().union(*kinds)), "a logical page with two uses")
    check(set().union(*kinds) == set(state.logical_pages()), "a logical page without a use")
    live = {(page, at) for page, (segments, _, _) in storage.pages.items() for at in segments}
    check(live == storage.reached, "a live segment without a referrer")
    check(roots.seg.storage_pages == len(storage_pages), "storage_pages")
    check(roots.seg.free_bytes == sum(free for _, free, _ in storage.pages.values()), "free bytes")
    unit = state.page_size // 256
    largest = {page: most for page, (_, _, most) in storage.pages.items() if most is not None}
    expected = {page: min(254, most // unit) for page, most in largest.items() if most >= unit}
    check(classes == expected, "classes of the free-space index")
    return directory.tokens, application.tag, lattice


class Changed:
    """A token that the journal changes: its bytes, and which of them neither the pages nor the journal has."""

    def __init__(self, value):
        self.value = bytearray(value)
        self.unknown = range(0)

    def append(self, offset, data):
        """Replaces what lies from an offset on."""
        if offset > len(self.value):
            self.unknown = range(len(self.value), offset)
            self.value.extend(bytes(offset - len(self.value)))
        del self.value[offset:]
        self.unknown = range(self.unknown.start, min(self.unknown.stop, offset))
        self.value += data


def apply(batches, tokens, tag):
    """The tokens and the tag after the journal: I27."""
    changed = {}
    for batch in batches:
        for operation in batch.operations:
            body, code = operation.body, operation.code
            if code == Shroom.OperationCode.tag:
                tag = number_of(body.value)
                continue
            number = number_of(body.id)
            if code == Shroom.OperationCode.put:
                check(number_of(body.length) == len(body.bytes), "length of a put")
                changed[number] = Changed(body.bytes)
            elif code == Shroom.OperationCode.delete:
                changed[number] = None
            else:
                offset = number_of(body.offset)
                check(number_of(body.length) == len(body.bytes), "length of an append")
                check(offset + len(body.bytes) < 1 << 63, "an append past the end of numbers")
                before = changed.get(number)
                if before is None:
                    before = Changed(b"" if number in changed else tokens.get(number, b""))
                    check(number not in changed or offset == 0, "an append behind a deletion")
                else:
                    check(offset <= len(before.value), "an append behind the end")
                before.append(offset, body.bytes)
                changed[number] = before
    result = dict(tokens)
    for number, change in changed.items():
        if change is None:
            result.pop(number, None)
        else:
            check(len(change.unknown) == 0, f"token {number} has bytes that nothing has")
            result[number] = bytes(change.value)
    return dict(sorted(result.items())), tag
