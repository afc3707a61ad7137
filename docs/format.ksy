# The structures of docs/format.md for Kaitai Struct (https://kaitai.io). The document is what counts; this is its executable twin,
# and `cargo xtask spec --independent` reads files by both.
#
# A file as a whole is not a sequence of structures: what a page is, only its referrer says. So the top has the two superblock
# slots, and the types below are for pages and parts of pages that a reader has found, and whose hash it has seen to be right.
# Hashes, checksums, the choice of a slot and the chain of frames cannot be said here: docs/format.md does.
meta:
  id: shroom
  title: ShroomDB file, version 1
  file-extension: shroom
  license: MIT
  endian: le

instances:
  slot_0:
    pos: 0
    type: superblock
  slot_1:
    doc: Where it lies follows from slot 0, when that is valid.
    pos: slot_0.page_size
    type: superblock

types:
  # 2. The file
  superblock:
    seq:
      - id: magic
        contents: SHROOMDB
      - id: version
        type: u2
        valid: 1
      - id: page_shift
        type: u1
        valid:
          min: 9
          max: 16
      - id: map_height
        type: u1
        valid:
          max: 7
      - id: reserved
        contents: [0, 0, 0, 0]
      - id: sequence
        type: u8
      - id: hash
        size: 32
        doc: Of bytes 0 to 23 and 56 to the end.
      - id: logical_pages
        type: u4
      - id: physical_pages
        type: u4
      - id: root_entries
        type: u4
        valid:
          max: (len - 272) / 36
      - id: free_first
        type: u4
      - id: free_pages
        type: u4
      - id: free_bytes
        type: u4
      - id: free_hash
        size: 32
      - id: journal
        type: run_of_pages
        repeat: expr
        repeat-expr: 2
      - id: drained
        type: u8
      - id: chain
        type: u8
      - id: roots
        size: 128
        type: roots
      - id: physical
        type: u4
        repeat: expr
        repeat-expr: root_entries
      - id: hashes
        size: 32
        repeat: expr
        repeat-expr: root_entries
      - id: raw_free_record
        size: 'free_pages == 0 ? free_bytes : 0'
      - id: zeros
        size: 'len - 272 - 36 * root_entries - (free_pages == 0 ? free_bytes : 0)'
    instances:
      page_size:
        value: 1 << page_shift
      len:
        value: 'page_size < 4096 ? page_size : 4096'
  run_of_pages:
    seq:
      - id: first
        type: u4
      - id: pages
        type: u4
  roots:
    seq:
      - id: seg
        type: segment_root
      - id: token
        type: token_root
      - id: application
        type: application_root
  page_header:
    seq:
      - id: page_type
        type: u1
        enum: page_type
      - id: kind
        type: u1
      - id: used
        type: u2
      - id: reserved
        contents: [0, 0, 0, 0]

  # 3. Page map
  map_page:
    params:
      - id: page_size
        type: u4
    seq:
      - id: header
        type: page_header
      - id: physical
        type: u4
        repeat: expr
        repeat-expr: fanout
      - id: hashes
        size: 32
        repeat: expr
        repeat-expr: fanout
      - id: zeros
        size: page_size - 8 - 36 * fanout
    instances:
      fanout:
        value: (page_size - 8) / 36
  page_root_input:
    seq:
      - id: domain
        contents: shroom page root 2
      - id: map_height
        type: u1
      - id: logical_pages
        type: u4
      - id: root_entries
        type: u4
      - id: roots
        type: roots
      - id: physical
        type: u4
        repeat: expr
        repeat-expr: root_entries
      - id: hashes
        size: 32
        repeat: expr
        repeat-expr: root_entries

  # 4. Free record and journal
  varint:
    seq:
      - id: groups
        type: u1
        repeat: until
        repeat-until: '_ < 128 or groups.size == 10'
    instances:
      len:
        value: groups.size
      value:
        value: >-
          (groups[0] & 127)
          + (len > 1 ? (groups[1] & 127) << 7 : 0)
          + (len > 2 ? (groups[2] & 127) << 14 : 0)
          + (len > 3 ? (groups[3] & 127) << 21 : 0)
          + (len > 4 ? (groups[4] & 127) << 28 : 0)
          + (len > 5 ? (groups[5] & 127) << 35 : 0)
          + (len > 6 ? (groups[6] & 127) << 42 : 0)
          + (len > 7 ? (groups[7] & 127) << 49 : 0)
          + (len > 8 ? (groups[8] & 127) << 56 : 0)
          + (len > 9 ? (groups[9] & 127) << 63 : 0)
      is_shortest:
        value: groups.last != 0 or len == 1
  free_record:
    seq:
      - id: physical
        type: runs
      - id: logical
        type: runs
      - id: named
        type: named_snapshots
        if: not _io.eof
  runs:
    seq:
      - id: count
        type: varint
      - id: runs
        type: gap_and_length
        repeat: expr
        repeat-expr: count.value
  gap_and_length:
    seq:
      - id: gap
        type: varint
      - id: length
        type: varint
  named_snapshots:
    seq:
      - id: count
        type: varint
      - id: snapshots
        type: named_snapshot
        repeat: expr
        repeat-expr: count.value
  named_snapshot:
    seq:
      - id: length
        type: u1
        valid:
          min: 1
      - id: name
        size: length
        type: str
        encoding: UTF-8
      - id: page
        type: u4
      - id: hash
        size: 32
  frame:
    doc: One at a multiple of 8 in a journal area; which of them count, docs/format.md 4.2 says.
    seq:
      - id: checksum
        type: u8
      - id: previous
        type: u8
      - id: sequence
        type: u8
      - id: synced
        type: u8
      - id: epoch
        type: u4
      - id: length
        type: u4
      - id: payload
        size: length

  # 5. Storage pages
  storage_page:
    seq:
      - id: page_type
        contents: [1]
      - id: kind
        contents: [0]
      - id: used
        type: u2
        valid:
          min: 1
      - id: free_head
        type: u2
      - id: free_bytes
        type: u2
      - id: segments
        type: segment
        repeat: eos
  segment:
    doc: Live or free; a free one has zeros as its data, and its link is 0 or an offset.
    seq:
      - id: length
        type: u2
      - id: data
        size: length
      - id: next
        type: u2
        valid:
          expr: '_ < 2 or _ >= 8'
      - id: far
        type: segment_address
        if: next == 1
  segment_address:
    seq:
      - id: page
        type: u4
      - id: offset
        type: u2
  blob_data:
    doc: The data of a blob's chain.
    seq:
      - id: extent_count
        type: u2
      - id: extents
        type: extent
        repeat: expr
        repeat-expr: extent_count
      - id: tail
        size-eos: true
  extent:
    seq:
      - id: first
        type: u4
        valid:
          min: 1
      - id: pages
        type: u4
        valid:
          min: 1

  # 6. Free-space index
  segment_root:
    seq:
      - id: height
        type: u1
        valid:
          max: 5
      - id: reserved
        contents: [0, 0, 0]
      - id: root
        type: u4
      - id: storage_pages
        type: u4
      - id: reserved_2
        contents: [0, 0, 0, 0]
      - id: free_bytes
        type: u8
      - id: classes
        size: 40
  free_index_leaf:
    seq:
      - id: header
        type: page_header
      - id: classes
        size-eos: true
  free_index_node:
    params:
      - id: page_size
        type: u4
    seq:
      - id: header
        type: page_header
      - id: children
        type: u4
        repeat: expr
        repeat-expr: fanout
      - id: maxima
        size: fanout
      - id: zeros
        size: page_size - 8 - 5 * fanout
    instances:
      fanout:
        value: (page_size - 8) / 5

  # 7. Packs
  uint:
    doc: A number of 0 to 8 bytes.
    params:
      - id: width
        type: u1
    seq:
      - id: bytes
        size: width
    instances:
      value:
        value: >-
          (width > 0 ? bytes[0] : 0)
          + (width > 1 ? bytes[1] << 8 : 0)
          + (width > 2 ? bytes[2] << 16 : 0)
          + (width > 3 ? bytes[3] << 24 : 0)
          + (width > 4 ? bytes[4] << 32 : 0)
          + (width > 5 ? bytes[5] << 40 : 0)
          + (width > 6 ? bytes[6] << 48 : 0)
          + (width > 7 ? bytes[7] << 56 : 0)
  pack:
    seq:
      - id: base
        type: u8
      - id: count
        type: u2
        valid:
          min: 1
      - id: id_width
        type: u1
        valid:
          max: 8
      - id: kind
        type: u1
        valid:
          any-of: [0, 1, 2, 4, 5, 6]
      - id: length
        type: u2
        if: is_uniform
      - id: ids
        doc: Of tokens 1 and on, less the base.
        type: uint(id_width)
        repeat: expr
        repeat-expr: 'id_width > 0 ? count - 1 : 0'
      - id: ends
        type: uint(end_width)
        repeat: expr
        repeat-expr: 'is_uniform ? 0 : count'
      - id: bitmap
        size: 'has_blobs ? (count + 7) / 8 : 0'
      - id: values
        doc: With up to 3 bytes of slack.
        size-eos: true
    instances:
      is_uniform:
        value: (kind & 1) != 0
      end_width:
        value: '(kind & 2) != 0 ? 2 : 1'
      has_blobs:
        value: (kind & 4) != 0
  blob_reference:
    seq:
      - id: page
        type: u4
      - id: offset
        type: u2
      - id: length
        type: u8

  # 8. Directory
  token_root:
    seq:
      - id: height
        type: u1
        valid:
          max: 8
      - id: reserved
        contents: [0, 0, 0]
      - id: page
        type: u4
      - id: offset
        type: u2
      - id: reserved_2
        contents: [0, 0, 0, 0, 0, 0]
      - id: tokens
        type: u8
      - id: payload
        type: u8
  directory_page:
    seq:
      - id: page_type
        contents: [2]
      - id: kind
        type: u1
        valid:
          any-of: [3, 4]
      - id: used
        type: u2
        valid:
          min: 1
      - id: level
        type: u1
      - id: id_width
        type: u1
        valid:
          max: 8
      - id: page_width
        type: u1
        valid:
          max: 4
      - id: offset_width
        type: u1
        valid:
          max: 2
      - id: base_id
        type: u8
      - id: base_page
        type: u4
      - id: base_offset
        type: u2
      - id: ids
        type: uint(id_width)
        repeat: expr
        repeat-expr: used
      - id: pages
        type: uint(page_width)
        repeat: expr
        repeat-expr: used
      - id: offsets
        type: uint(offset_width)
        repeat: expr
        repeat-expr: used
      - id: zeros
        size-eos: true

  # 9. Application root and journal operations
  application_root:
    seq:
      - id: tag
        type: u8
      - id: lattice
        type: segment_address
      - id: flags
        type: u2
        valid:
          max: 1
      - id: reserved
        contents: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  batch:
    doc: The payload of a frame.
    seq:
      - id: operations
        type: operation
        repeat: eos
  operation:
    seq:
      - id: code
        type: u1
        enum: operation_code
        valid:
          in-enum: true
      - id: body
        type:
          switch-on: code
          cases:
            'operation_code::put': put
            'operation_code::delete': delete
            'operation_code::append': append
            'operation_code::tag': tag
    types:
      put:
        seq:
          - id: id
            type: varint
          - id: length
            type: varint
          - id: bytes
            size: length.value
      delete:
        seq:
          - id: id
            type: varint
      append:
        seq:
          - id: id
            type: varint
          - id: offset
            type: varint
          - id: length
            type: varint
          - id: bytes
            size: length.value
      tag:
        seq:
          - id: value
            type: varint

  # 12. Delta
  delta:
    doc: A file or stream of its own.
    seq:
      - id: magic
        contents: SHRDELTA
      - id: version
        type: u2
        valid: 1
      - id: page_shift
        type: u1
        valid:
          min: 9
          max: 16
      - id: from_length
        type: u1
      - id: to_length
        type: u1
        valid:
          min: 1
      - id: reserved
        contents: [0, 0, 0]
      - id: num_pages
        type: u4
      - id: end
        type: u4
      - id: place
        type: u4
      - id: reserved_2
        contents: [0, 0, 0, 0]
      - id: hash
        size: 32
      - id: from_root
        size: 32
      - id: to_root
        size: 32
      - id: from_name
        size: from_length
        type: str
        encoding: UTF-8
      - id: to_name
        size: to_length
        type: str
        encoding: UTF-8
      - id: superblock
        size: 'page_size < 4096 ? page_size : 4096'
        type: superblock
      - id: pages
        type: delta_page(page_size)
        repeat: expr
        repeat-expr: num_pages
    instances:
      page_size:
        value: 1 << page_shift
  delta_page:
    params:
      - id: page_size
        type: u4
    seq:
      - id: physical
        type: u4
      - id: bytes
        size: page_size

  # 13. Proofs
  proof_head:
    doc: |
      Chunks of the page root's input come next, then records to the end. How many chaining values a string of chunks has follows
      from a walk over its tree (docs/format.md 13.1), which cannot be said here.
    seq:
      - id: magic
        contents: SHROOMPR
      - id: version
        type: u1
        valid: 1
      - id: page_shift
        type: u1
        valid:
          min: 9
          max: 16
  proof_record:
    doc: Chunks of the page follow.
    seq:
      - id: level
        type: u1
      - id: index
        type: u4
  chunk_mask:
    params:
      - id: len_string
        type: u4
    seq:
      - id: mask
        size: ((len_string + 1023) / 1024 + 7) / 8

enums:
  page_type:
    0: free
    1: storage
    2: index
    3: map
    4: journal
  operation_code:
    1: put
    2: delete
    3: append
    4: tag
