//! The log of a faulty storage, and the images that a crash at any point of it may leave.
//!
//! * H1 A checkpoint is the whole content after some number of events. One is made whenever as many bytes were logged
//!   as the content is long, so that an image costs about one copy of the content, and all
//!   checkpoints together about as much memory as the log.
//! * H2 No image is replayed across a `SyncLost`: a checkpoint follows it at once.
//!
//! Absent on purpose: no faults, no locks.

use super::{ChunkedBytes, Event};

/// Fewest logged bytes between two checkpoints.
const CHECKPOINT_BYTES_MIN: u64 = 1 << 14;

/// What becomes of the changes since the last completed sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrashPlan {
    /// None reached the disk.
    LoseAll,
    /// All did.
    KeepAll,
    /// The i-th did when bit i is set; those from the 65th on did not.
    Subset(u64),
    /// All did but the i-th (from 0).
    AllBut(usize),
    /// Each independently did, or did not, or (writes) did in part.
    Random {
        /// The same seed gives the same image.
        seed: u64,
        /// Into what a write may be torn.
        torn: Torn,
        /// False: what is kept applies in the order of the calls. True: the writes' pieces apply in any order, after
        /// changes of length and holes, so that an older write may win over a newer one.
        reordered: bool,
    },
    /// Each independently did or did not, in the order of the calls; but one of the writes landed in another place, which
    /// begins at a multiple of 512 bytes: over durable data, perhaps.
    Misdirected {
        /// The same seed gives the same image.
        seed: u64,
    },
}

/// The pieces of a write that reach the disk as a whole, counted from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// A write is one piece.
    None,
    /// Sectors of 512 bytes.
    Sector512,
    /// Pages of 4,096 bytes.
    Page4096,
}

impl Torn {
    fn piece_len(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Sector512 => Some(512),
            Self::Page4096 => Some(4_096),
        }
    }
}

/// The events, and enough images to rebuild any state quickly.
pub(super) struct History {
    events: Vec<Event>,
    /// Numbers of the completed syncs, ascending.
    syncs: Vec<usize>,
    /// Ascending by number of events; the first is at 0.
    checkpoints: Vec<Image>,
    bytes_since_checkpoint: u64,
    /// The image built last: a test asks for many at one place, or walks forward.
    recent: Option<Image>,
}

/// The content after some number of events.
#[derive(Clone)]
struct Image {
    events: usize,
    bytes: Vec<u8>,
}

impl History {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            events: Vec::new(),
            syncs: Vec::new(),
            checkpoints: vec![Image { events: 0, bytes }],
            bytes_since_checkpoint: 0,
            recent: None,
        }
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Adds an event; `content` is what the process sees after it.
    pub(super) fn record(&mut self, event: Event, content: &ChunkedBytes) {
        match &event {
            Event::Sync => self.syncs.push(self.events.len()),
            Event::Write { bytes, .. } | Event::Rot { bytes, .. } => {
                self.bytes_since_checkpoint += bytes.len() as u64
            }
            _ => {}
        }
        let lost = event == Event::SyncLost;
        self.events.push(event);
        if lost || self.bytes_since_checkpoint >= content.len().max(CHECKPOINT_BYTES_MIN) {
            self.checkpoints.push(Image {
                events: self.events.len(),
                bytes: content.to_bytes(),
            });
            self.bytes_since_checkpoint = 0;
        }
    }

    /// The content after the first `events` events, or after all when there are fewer.
    pub(super) fn image_at(&mut self, events: usize) -> Vec<u8> {
        let events = events.min(self.events.len());
        let after = self
            .checkpoints
            .partition_point(|checkpoint| checkpoint.events <= events);
        let nearest = &self.checkpoints[after - 1];
        let mut image = match self.recent.take() {
            Some(recent) if (nearest.events..=events).contains(&recent.events) => recent,
            _ => nearest.clone(),
        };
        for event in &self.events[image.events..events] {
            apply(&mut image.bytes, event);
        }
        image.events = events;
        self.recent.insert(image).bytes.clone()
    }

    /// The content that remains when the writes since the last completed sync are taken back.
    pub(super) fn image_without_unsynced_writes(&mut self) -> Vec<u8> {
        let synced = self.synced(self.events.len());
        let mut image = self.image_at(synced);
        for event in &self.events[synced..] {
            if !matches!(event, Event::Write { .. }) {
                apply(&mut image, event);
            }
        }
        image
    }

    /// The changes that a crash after `events` events can lose, in order. Not those that a failed sync has lost for good.
    pub(super) fn unsynced(&self, events: usize) -> impl Iterator<Item = &Event> {
        self.since_sync(events)
            .filter(|event| !matches!(event, Event::Rot { .. }))
    }

    pub(super) fn crash_image(&mut self, events: usize, plan: &CrashPlan) -> Vec<u8> {
        let mut image = self.image_at(self.synced(events));
        if let CrashPlan::Random {
            seed,
            torn,
            reordered,
        } = *plan
        {
            crash_randomly(&mut image, self.since_sync(events), seed, torn, reordered);
            return image;
        }
        if let CrashPlan::Misdirected { seed } = *plan {
            let changes: Vec<&Event> = self.since_sync(events).collect();
            misdirect(&mut image, &changes, seed);
            return image;
        }
        let mut number = 0;
        for event in self.since_sync(events) {
            let rot = matches!(event, Event::Rot { .. });
            let kept = rot
                || match *plan {
                    CrashPlan::LoseAll => false,
                    CrashPlan::KeepAll
                    | CrashPlan::Random { .. }
                    | CrashPlan::Misdirected { .. } => true,
                    CrashPlan::Subset(mask) => number < 64 && mask >> number & 1 != 0,
                    CrashPlan::AllBut(lost) => number != lost,
                };
            if kept {
                apply(&mut image, event);
            }
            number += usize::from(!rot);
        }
        image
    }

    /// Number of events up to the last completed sync of the first `events`.
    fn synced(&self, events: usize) -> usize {
        let completed = self.syncs.partition_point(|&sync| sync < events);
        completed
            .checked_sub(1)
            .map_or(0, |last| self.syncs[last] + 1)
    }

    /// The changes and the rot since the last completed sync, without the writes that a failed sync has lost.
    fn since_sync(&self, events: usize) -> impl Iterator<Item = &Event> {
        let events = events.min(self.events.len());
        let after_sync = &self.events[self.synced(events)..events];
        let lost = after_sync
            .iter()
            .rposition(|event| *event == Event::SyncLost)
            .map_or(0, |last| last + 1);
        after_sync
            .iter()
            .enumerate()
            .filter_map(move |(number, event)| match event {
                Event::SyncLost => None,
                Event::Write { .. } if number < lost => None,
                _ => Some(event),
            })
    }
}

/// Applies a change; parts beyond the image's end are lost.
fn apply(image: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { offset, bytes } | Event::Rot { offset, bytes } => {
            write(image, *offset, bytes)
        }
        Event::PunchHole { offset, len } => {
            let range = clip(image, *offset, *len);
            image[range].fill(0);
        }
        Event::Grow { len } => image.resize(image.len().max(*len as usize), 0),
        Event::Shrink { len } => image.truncate(*len as usize),
        Event::Sync | Event::SyncLost => {}
    }
}

fn write(image: &mut [u8], offset: u64, bytes: &[u8]) {
    let range = clip(image, offset, bytes.len() as u64);
    let kept = &bytes[..range.len()];
    image[range].copy_from_slice(kept);
}

fn clip(image: &[u8], offset: u64, len: u64) -> std::ops::Range<usize> {
    let limit = image.len() as u64;
    let start = offset.min(limit);
    start as usize..offset.saturating_add(len).min(limit) as usize
}

fn crash_randomly<'a>(
    image: &mut Vec<u8>,
    changes: impl Iterator<Item = &'a Event>,
    seed: u64,
    torn: Torn,
    reordered: bool,
) {
    let mut random = SplitMix64(seed);
    // Few, half, or most of the changes reach the disk: with many of them, the extremes would never come up otherwise.
    let kept_in_8 = [1, 4, 7][random.below(3) as usize];
    let mut pieces: Vec<(u64, &[u8])> = Vec::new();
    for event in changes {
        let Event::Write { offset, bytes } = event else {
            if matches!(event, Event::Rot { .. }) || random.below(8) < kept_in_8 {
                apply(image, event);
            }
            continue;
        };
        let first_piece = pieces.len();
        match torn.piece_len() {
            Some(piece_len) if random.below(3) == 0 => {
                pieces.extend(tear(*offset, bytes, piece_len).filter(|_| random.below(2) == 0));
            }
            _ if random.below(8) < kept_in_8 => pieces.push((*offset, bytes)),
            _ => {}
        }
        if !reordered {
            for (offset, bytes) in pieces.drain(first_piece..) {
                write(image, offset, bytes);
            }
        }
    }
    for last in (1..pieces.len()).rev() {
        pieces.swap(last, random.below(last as u64 + 1) as usize);
    }
    for (offset, bytes) in pieces {
        write(image, offset, bytes);
    }
}

fn misdirect(image: &mut Vec<u8>, changes: &[&Event], seed: u64) {
    const SECTOR: u64 = 512;
    let mut random = SplitMix64(seed);
    let kept_in_8 = [1, 4, 7][random.below(3) as usize];
    let is_write = |event: &&&Event| matches!(event, Event::Write { .. });
    let writes = changes.iter().filter(is_write).count() as u64;
    let mut until_victim = random.below(writes.max(1));
    for &event in changes {
        if let Event::Write { bytes, .. } = event {
            if until_victim == 0 {
                let sectors = (image.len() as u64).div_ceil(SECTOR).max(1);
                write(image, random.below(sectors) * SECTOR, bytes);
                until_victim = u64::MAX;
                continue;
            }
            until_victim -= 1;
        }
        if matches!(event, Event::Rot { .. }) || random.below(8) < kept_in_8 {
            apply(image, event);
        }
    }
}

/// Cuts a write at the multiples of `piece_len` in the file.
fn tear(mut offset: u64, mut bytes: &[u8], piece_len: u64) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let room = (piece_len - offset % piece_len) as usize;
        let (piece, rest) = bytes.split_at(room.min(bytes.len()));
        let at = offset;
        (offset, bytes) = (offset + piece.len() as u64, rest);
        (!piece.is_empty()).then_some((at, piece))
    })
}

/// Sebastiano Vigna's generator: 64 bits of state, any seed will do (<https://prng.di.unimi.it/splitmix64.c>).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `limit` (not 0); the bias of the remainder does not matter here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(published.map(|_| random.next()), published);
    }

    #[test]
    fn a_write_is_torn_at_sector_borders_of_the_file() {
        let bytes: Vec<u8> = (0..1_200).map(|i| i as u8).collect();
        let pieces: Vec<_> = tear(500, &bytes, 512)
            .map(|(offset, bytes)| (offset, bytes.len()))
            .collect();
        assert_eq!(pieces, [(500, 12), (512, 512), (1_024, 512), (1_536, 164)]);
        assert_eq!(
            tear(500, &bytes, 512)
                .flat_map(|(_, bytes)| bytes)
                .copied()
                .collect::<Vec<_>>(),
            bytes
        );
    }

    #[test]
    fn clipping_never_leaves_the_image() {
        let mut image = vec![1; 10];
        for (offset, len) in [
            (0, 20),
            (9, 1),
            (10, 1),
            (11, 1),
            (u64::MAX, 1),
            (5, u64::MAX),
        ] {
            let range = clip(&image, offset, len);
            assert!(range.start <= range.end && range.end <= 10);
            apply(&mut image, &Event::PunchHole { offset, len });
        }
        assert_eq!(image, [0; 10]);
    }
}
