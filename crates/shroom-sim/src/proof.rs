//! Proofs taken apart: changed at will, put together again, and sealed so that every hash is right under a root of their own.
//!
//! * G3 Taking a sound proof apart and putting it together changes nothing, and nor does sealing it.
//!
//! Offsets are those of `docs/format.md`, section 13. Absent on purpose: uses none of the engine's own code, which it is to test.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes of a chunk of BLAKE3.
pub const CHUNK_LEN: usize = 1024;
/// Bytes of the page root's input before the root entries.
pub const ROOT_HEAD_LEN: usize = 155;
/// Where that input has the height of the map, u8.
pub const HEIGHT_AT: usize = 18;
/// Where that input has the root of the token layer, 32 bytes.
pub const TOKEN_ROOT_AT: usize = 27 + 64;
/// Bytes of a proof before the page root's input.
const HEAD_LEN: usize = 10;

/// A string of which a proof holds some chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Length of the string.
    pub len: usize,
    /// Which chunks are known.
    pub known: u64,
    /// The known chunks.
    pub chunks: Vec<u8>,
    /// Chaining values of the largest subtrees of others.
    pub values: Vec<[u8; 32]>,
}

/// A page of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 0 for a logical page, `n` for a page of the map of level `n - 1`.
    pub level: u8,
    /// Index in the level.
    pub index: u32,
    /// Its bytes.
    pub page: Part,
}

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Magic and version.
    pub front: [u8; 9],
    /// log2 of the page size.
    pub page_shift: u8,
    /// The page root's input.
    pub head: Part,
    /// The pages.
    pub records: Vec<Record>,
}

impl Part {
    fn parse(bytes: &mut &[u8], len: usize) -> Option<Self> {
        let chunks = len.div_ceil(CHUNK_LEN);
        let (mask, rest) = bytes.split_at_checked(chunks.div_ceil(8))?;
        let mut known = [0; 8];
        known[..mask.len()].copy_from_slice(mask);
        let known = u64::from_le_bytes(known);
        let known_len: usize = (0..chunks)
            .filter(|chunk| known >> chunk & 1 != 0)
            .map(|chunk| CHUNK_LEN.min(len - chunk * CHUNK_LEN))
            .sum();
        let (held, rest) = rest.split_at_checked(known_len)?;
        let (values, rest) = rest.split_at_checked(32 * unknown(0, chunks, known))?;
        *bytes = rest;
        Some(Self {
            len,
            known,
            chunks: held.to_vec(),
            values: values.as_chunks().0.to_vec(),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mask_len = self.len.div_ceil(CHUNK_LEN).div_ceil(8);
        out.extend_from_slice(&self.known.to_le_bytes()[..mask_len]);
        out.extend_from_slice(&self.chunks);
        out.extend_from_slice(self.values.as_flattened());
    }

    /// Where byte `at` of the string is in the chunks, if it is known.
    pub fn place(&self, at: usize) -> Option<usize> {
        let chunk = at / CHUNK_LEN;
        let known = at < self.len && self.known >> chunk & 1 != 0;
        let before = self.known & !(u64::MAX << chunk);
        known.then(|| before.count_ones() as usize * CHUNK_LEN + at % CHUNK_LEN)
    }

    /// Writes known bytes of the string.
    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            if let Some(place) = self.place(at + offset) {
                self.chunks[place] = *byte;
            }
        }
    }

    /// The u32 at a place of the string; 0 where it is not known.
    pub fn u32(&self, at: usize) -> u32 {
        let byte = |offset| {
            self.place(at + offset)
                .map_or(0, |place| self.chunks[place])
        };
        u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
    }

    /// The same string with one known chunk less: the value of its subtree is there instead, so that the hash stays.
    pub fn without(&self, chunk: usize) -> Self {
        let known = self.known & !(1 << chunk);
        let mut less = Self {
            known,
            values: Vec::new(),
            ..self.clone()
        };
        let mut values = self.values.iter();
        self.collect_values(
            0,
            self.len.div_ceil(CHUNK_LEN),
            known,
            &mut values,
            &mut less.values,
        );
        if let Some(at) = self.place(chunk * CHUNK_LEN) {
            let end = less.chunks.len().min(at + CHUNK_LEN);
            less.chunks.drain(at..end);
        }
        less
    }

    fn collect_values(
        &self,
        first: usize,
        chunks: usize,
        known: u64,
        values: &mut std::slice::Iter<'_, [u8; 32]>,
        out: &mut Vec<[u8; 32]>,
    ) {
        let all = mask(first, chunks);
        if known & all == 0 {
            out.push(self.value(first, chunks, values));
        } else if known & all != all {
            let left = left_chunks(chunks);
            self.collect_values(first, left, known, values, out);
            self.collect_values(first + left, chunks - left, known, values, out);
        }
    }

    /// BLAKE3 of the string, as its chunks and values tell.
    pub fn hash(&self) -> [u8; 32] {
        let chunks = self.len.div_ceil(CHUNK_LEN);
        if chunks == 1 {
            return *blake3::hash(&self.chunks).as_bytes();
        }
        let left = left_chunks(chunks);
        let mut values = self.values.iter();
        let low = self.value(0, left, &mut values);
        let high = self.value(left, chunks - left, &mut values);
        *merge_subtrees_root(&low, &high, Mode::Hash).as_bytes()
    }

    fn value(
        &self,
        first: usize,
        chunks: usize,
        values: &mut std::slice::Iter<'_, [u8; 32]>,
    ) -> [u8; 32] {
        if self.known & mask(first, chunks) == 0 {
            return values.next().copied().unwrap_or_default();
        }
        if chunks == 1 {
            let start = first * CHUNK_LEN;
            let at = self.place(start).expect("it is known");
            let len = CHUNK_LEN.min(self.len - start);
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(start as u64);
            hasher.update(&self.chunks[at..at + len]);
            return hasher.finalize_non_root();
        }
        let left = left_chunks(chunks);
        let low = self.value(first, left, values);
        let high = self.value(first + left, chunks - left, values);
        merge_subtrees_non_root(&low, &high, Mode::Hash)
    }
}

impl Parts {
    /// Takes a proof apart; `None` when it is cut somewhere, or says that it has other pages than there are.
    pub fn parse(proof: &[u8]) -> Option<Self> {
        let (front, rest) = proof.split_first_chunk()?;
        let (&page_shift, mut rest) = rest.split_first()?;
        let page_len = (9..=16).contains(&page_shift).then(|| 1 << page_shift)?;
        let entries = u32::from_le_bytes(*proof.get(HEAD_LEN + 1 + 23..)?.first_chunk()?);
        if entries > 4096 / 36 {
            return None;
        }
        let head = Part::parse(&mut rest, ROOT_HEAD_LEN + 36 * entries as usize)?;
        let mut records = Vec::new();
        while let Some((key, after)) = rest.split_first_chunk::<5>() {
            let [level, index @ ..] = *key;
            rest = after;
            records.push(Record {
                level,
                index: u32::from_le_bytes(index),
                page: Part::parse(&mut rest, page_len)?,
            });
        }
        rest.is_empty().then_some(Self {
            front: *front,
            page_shift,
            head,
            records,
        })
    }

    /// The proof's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut proof = self.front.to_vec();
        proof.push(self.page_shift);
        self.head.encode(&mut proof);
        for record in &self.records {
            proof.push(record.level);
            proof.extend_from_slice(&record.index.to_le_bytes());
            record.page.encode(&mut proof);
        }
        proof
    }

    /// Makes every hash right, from the pages up, where the page that holds it is there. Returns the root.
    pub fn seal(&mut self) -> [u8; 32] {
        let fanout = ((1_usize << self.page_shift) - 8) / 36;
        let entries = (self.head.len - ROOT_HEAD_LEN) / 36;
        let height = self.head.u32(HEIGHT_AT) as u8;
        for at in 0..self.records.len() {
            let Record { level, index, page } = &self.records[at];
            let (above, hash) = (level.wrapping_add(1), page.hash());
            let (parent, digit) = (*index as usize / fanout, *index as usize % fanout);
            let index = *index as usize;
            let mut holders = self.records.iter_mut();
            let holder =
                holders.find(|record| (record.level, record.index as usize) == (above, parent));
            match holder {
                Some(holder) => holder.page.set(8 + fanout * 4 + digit * 32, &hash),
                None if above > height && index < entries => {
                    self.head
                        .set(ROOT_HEAD_LEN + entries * 4 + index * 32, &hash);
                }
                None => {}
            }
        }
        self.head.hash()
    }
}

/// Chunks on the left side of a tree over more than one chunk: the largest power of two below.
fn left_chunks(chunks: usize) -> usize {
    chunks.next_power_of_two() / 2
}

fn mask(first: usize, chunks: usize) -> u64 {
    (first..first + chunks).fold(0, |mask, chunk| mask | 1 << chunk)
}

/// How many largest subtrees without a known chunk there are.
fn unknown(first: usize, chunks: usize, known: u64) -> usize {
    let all = mask(first, chunks);
    if known & all == 0 {
        return 1;
    }
    if known & all == all {
        return 0;
    }
    let left = left_chunks(chunks);
    unknown(first, left, known) + unknown(first + left, chunks - left, known)
}
