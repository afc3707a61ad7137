"""BLAKE3 by its specification, as far as proofs need it, and the package's for whole strings.

A proof holds chunks and chaining values, which no package has in its interface.
"""

import struct

try:
    import blake3 as _package
except ImportError:
    _package = None

MASK = 0xFFFFFFFF
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
CHUNK_LEN = 1024


def _compress(chaining, block, counter, block_len, flags):
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = list(chaining) + list(IV[:4]) + [counter & MASK, counter >> 32, block_len, flags]

    def mix(a, b, c, d, x, y):
        va, vb, vc, vd = v[a], v[b], v[c], v[d]
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            va = (va + vb + word) & MASK
            vd ^= va
            vd = (vd >> first | vd << 32 - first) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> second | vb << 32 - second) & MASK
        v[a], v[b], v[c], v[d] = va, vb, vc, vd

    for _ in range(7):
        for index, (a, b, c, d) in enumerate(((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))):
            mix(a, b, c, d, words[2 * index], words[2 * index + 1])
        for index, (a, b, c, d) in enumerate(((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))):
            mix(a, b, c, d, words[8 + 2 * index], words[9 + 2 * index])
        words = [words[at] for at in PERMUTATION]
    return [v[at] ^ v[at + 8] for at in range(8)], v, chaining


def chunk_value(data, number, is_root=False):
    """The chaining value of chunk `number`, or the hash when it is the whole string."""
    chaining = list(IV)
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    for index, block in enumerate(blocks):
        is_last = index == len(blocks) - 1
        flags = (CHUNK_START if index == 0 else 0) | (CHUNK_END if is_last else 0)
        flags |= ROOT if is_root and is_last else 0
        chaining, _, _ = _compress(chaining, block, number, len(block), flags)
    return struct.pack("<8I", *chaining)


def parent_value(left, right, is_root=False):
    """The chaining value of two subtrees, or the hash when they are the whole tree."""
    words, _, _ = _compress(IV, left + right, 0, 64, PARENT | (ROOT if is_root else 0))
    return struct.pack("<8I", *words)


def left_chunks(count):
    """How many of `count` chunks, at least 2, are in the left subtree: the greatest power of two below."""
    return 1 << ((count - 1).bit_length() - 1)


def _tree(data, first, is_root):
    count = max(1, -(-len(data) // CHUNK_LEN))
    if count == 1:
        return chunk_value(data, first, is_root)
    left = left_chunks(count)
    return parent_value(
        _tree(data[: left * CHUNK_LEN], first, False),
        _tree(data[left * CHUNK_LEN :], first + left, False),
        is_root,
    )


def _root_node(data):
    """The arguments of the last compression, from which extended output follows."""
    count = max(1, -(-len(data) // CHUNK_LEN))
    if count > 1:
        left = left_chunks(count)
        block = _tree(data[: left * CHUNK_LEN], 0, False) + _tree(data[left * CHUNK_LEN :], left, False)
        return list(IV), block, 64, PARENT | ROOT
    chaining = list(IV)
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    for index, block in enumerate(blocks[:-1]):
        chaining, _, _ = _compress(chaining, block, 0, 64, CHUNK_START if index == 0 else 0)
    flags = (CHUNK_START if len(blocks) == 1 else 0) | CHUNK_END | ROOT
    return chaining, blocks[-1], len(blocks[-1]), flags


def own_hash(data, length=32):
    """BLAKE3 by the code above; slow."""
    chaining, block, block_len, flags = _root_node(bytes(data))
    output = b""
    counter = 0
    while len(output) < length:
        low, state, before = _compress(chaining, block, counter, block_len, flags)
        high = [state[at + 8] ^ before[at] for at in range(8)]
        output += struct.pack("<16I", *low, *high)
        counter += 1
    return output[:length]


def hash_of(data, length=32):
    """BLAKE3 of a string, without key or context."""
    if _package is None:
        return own_hash(data, length)
    return _package.blake3(data).digest(length=length)


def content_root(tokens):
    """Format 11, of a dictionary of ids and bytes."""
    # Sums of numbers of 16 bits, every second one, in places of 32 bits.
    mask = int.from_bytes(b"\xff\xff\0\0" * 512, "little")
    even = odd = 0
    for index, (number, value) in enumerate(tokens.items()):
        head = b"shroom content element 1" + struct.pack("<QQ", number, len(value))
        element = int.from_bytes(hash_of(head + value, 2048), "little")
        even += element & mask
        odd += (element >> 16) & mask
        if index % 60000 == 59999:
            even, odd = even & mask, odd & mask
    total = (even & mask) | (odd & mask) << 16
    return hash_of(b"shroom content root 1" + total.to_bytes(2048, "little"))
