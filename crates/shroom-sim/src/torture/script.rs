//! Scripts: what happens in a world, made from a seed and fixed before it begins.

use std::fmt;

use shroom::storage::faulty::Fault;
use shroom::{Options, ReadCheck};

use super::reads::Read;
use crate::{Change, Op, Random, Workload};

/// What stays the same in a world.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What random operations are like; its page size is that of the file.
    pub workload: Workload,
    /// At how many events of a life, at most, crashes are tried.
    pub places: usize,
}

/// How the database is opened for a life.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// In bytes.
    pub journal_limit: u64,
    /// When pages are checked.
    pub check: ReadCheck,
    /// Size of a slice of a checkpoint, in bytes.
    pub slice_bytes: Option<usize>,
    /// Whether it is opened for reading only first.
    pub read_only_first: bool,
    /// Whether the file is to keep track of the content root from now on; `None`: as it does.
    pub track: Option<bool>,
    /// Free share from which on it compacts itself.
    pub compact_above: Option<f64>,
    /// A fault so many calls later, which may come when opening has ended.
    pub fault: Option<(u64, Fault)>,
}

impl Opening {
    /// The engine's options.
    pub fn options(&self, page_size: u32) -> Options {
        let mut options = Options::new()
            .page_size(page_size)
            .journal_limit(self.journal_limit)
            .read_check(self.check)
            .stream_bytes(1)
            .background(false);
        if let Some(track) = self.track {
            options = options.track_content_root(track);
        }
        if let Some(share) = self.compact_above {
            options = options.compact_above(share);
        }
        match self.slice_bytes {
            Some(bytes) => options.slice_bytes(bytes),
            None => options,
        }
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The database is closed.
    Close,
    /// Its process is killed: what was written is still there, synced or not.
    Kill,
    /// The machine stops at one of the events of the life: which, and what of the unsynced changes is kept, is random.
    Crash,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// An operation.
    Op(Op),
    /// Something is read and compared.
    Read(Read),
    /// A snapshot is taken and held.
    Hold,
    /// The oldest snapshot held is read and given up.
    Release,
    /// So many steps of a compaction in place, fewer when it ends, each of about so many bytes.
    Compact(u32, u64),
    /// A call fails, so many calls from now.
    Fault(u64, Fault),
    /// The disk has so many bytes left beyond the file's present length, or no limit.
    Room(Option<u64>),
    /// One bit of the file turns, at a random place.
    Flip(u64),
    /// A write lands at a random place, so many calls from now.
    Misdirect(u64, u64),
    /// The life ends, and another begins.
    End(End, Opening),
}

/// Everything that happens in a world.
#[derive(Clone, Debug)]
pub struct Script {
    /// Decides which crashes are tried; the rest of the script may have been made from it too.
    pub seed: u64,
    /// What stays the same.
    pub settings: Settings,
    /// How the database is opened at first.
    pub opening: Opening,
    /// What happens then. At the end the database is closed.
    pub steps: Vec<Step>,
}

fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len() as u64) as usize]
}

fn settings(random: &mut Random) -> Settings {
    let page_size = match random.below(64) {
        0..28 => 512,
        28..44 => 1024,
        44..46 => 2048,
        46..62 => 4096,
        62 => 16_384,
        _ => 65_536,
    };
    let workload = Workload {
        page_size,
        ids: one_of(random, &[3, 12, 40, 40, 200]),
        value_len_max: one_of(random, &[16, 300, 1_000, 3_000, 3_000, 20_000, 90_000]),
        acknowledged: one_of(random, &[5, 15, 25, 25, 50]),
    };
    let places = if page_size > 4096 { 4 } else { 16 };
    Settings { workload, places }
}

fn opening(random: &mut Random) -> Opening {
    Opening {
        journal_limit: one_of(random, &[64 << 10, 64 << 10, 100_000, 256 << 10]),
        check: one_of(random, &[ReadCheck::FirstTouch, ReadCheck::EveryRead]),
        slice_bytes: one_of(random, &[None, Some(1), Some(2_048), Some(8_192)]),
        read_only_first: random.below(4) == 0,
        track: one_of(random, &[None, None, Some(true), Some(false)]),
        compact_above: one_of(random, &[None, None, None, Some(0.3)]),
        fault: (random.below(6) == 0).then(|| (random.below(12), fault(random))),
    }
}

fn fault(random: &mut Random) -> Fault {
    use std::io::ErrorKind::{Interrupted, Other, StorageFull, TimedOut};
    match random.below(12) {
        0..2 => Fault::Error(Other),
        2..4 => Fault::Error(StorageFull),
        4 => Fault::Error(Interrupted),
        5 => Fault::ErrorAfter(TimedOut),
        6..8 => Fault::ShortWrite,
        8..10 => Fault::SyncForgotten,
        _ => Fault::SyncLoss,
    }
}

impl Script {
    /// The script of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let random = &mut random;
        let settings = settings(random);
        // Faults end lives early: half of the worlds have none, and crash in states that are further on.
        let faults = random.below(2) == 0;
        let mut script = Self {
            seed,
            settings,
            opening: opening(random),
            steps: Vec::new(),
        };
        for _ in 0..1 + random.below(5) {
            script.live(random, faults);
            let end = one_of(random, &[End::Close, End::Kill, End::Crash, End::Crash]);
            script.steps.push(Step::End(end, opening(random)));
        }
        if random.below(3) == 0 {
            script.live_damaged(random);
        }
        script
    }

    fn live(&mut self, random: &mut Random, faults: bool) {
        let steps = match random.below(8) {
            0 => 0,
            1 => random.below(4),
            2 => random.below(100),
            _ => random.below(40),
        };
        for _ in 0..steps {
            let step = match random.below(100) {
                0..3 if faults => Step::Fault(random.below(30), fault(random)),
                3..5 if faults => Step::Room(Some(random.below(200_000))),
                5..7 if faults => Step::Room(None),
                7..11 => Step::Hold,
                11..14 => Step::Release,
                14..24 => Step::Read(Read::random(&self.settings.workload, random)),
                24..32 => Step::Op(self.settings.workload.snapshot_op(random)),
                32..36 => {
                    let steps = one_of(random, &[1, 2, 5, 1_000]);
                    Step::Compact(steps, one_of(random, &[1, 3_000, 30_000, 1 << 20]))
                }
                _ => Step::Op(self.settings.workload.op(random)),
            };
            self.steps.push(step);
        }
    }

    /// The last life, in which the file is damaged under the running engine. Only one that checks each read can notice that
    /// at any time; the others do when they are opened again.
    fn live_damaged(&mut self, random: &mut Random) {
        let opening = Opening {
            check: ReadCheck::EveryRead,
            fault: None,
            ..opening(random)
        };
        self.steps.push(Step::End(End::Close, opening));
        self.live(random, false);
        self.steps.push(if random.below(2) == 0 {
            Step::Flip(random.next())
        } else {
            Step::Misdirect(random.below(20), random.next())
        });
        self.live(random, false);
        let end = one_of(random, &[End::Close, End::Kill]);
        self.steps.push(Step::End(end, opening));
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.settings)?;
        writeln!(f, "{:?}", self.opening)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(op) => show_op(f, op),
            Self::Read(read) => write!(f, "{read:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

fn show_op(f: &mut fmt::Formatter<'_>, op: &Op) -> fmt::Result {
    match op {
        Op::Put(id, bytes) => write!(f, "Put({id}, {} bytes)", bytes.len()),
        Op::Append(id, bytes) => write!(f, "Append({id}, {} bytes)", bytes.len()),
        Op::Insert(bytes) => write!(f, "Insert({} bytes)", bytes.len()),
        Op::Batch(changes, synced) => {
            write!(f, "Batch(synced: {synced}")?;
            for change in changes {
                match change {
                    Change::Put(id, bytes) => write!(f, ", Put({id}, {} bytes)", bytes.len())?,
                    Change::Append(id, bytes) => {
                        write!(f, ", Append({id}, {} bytes)", bytes.len())?
                    }
                    Change::Delete(_) | Change::Tag(_) => write!(f, ", {change:?}")?,
                }
            }
            write!(f, ")")
        }
        Op::Bulk(tokens) => {
            write!(f, "Bulk(")?;
            for (id, bytes) in tokens {
                write!(f, "{id}: {} bytes, ", bytes.len())?;
            }
            write!(f, ")")
        }
        Op::Stream { id, bytes, append } => {
            write!(f, "Stream({id}, {} bytes, append: {append})", bytes.len())
        }
        Op::WriteAt(id, place, bytes) => {
            write!(f, "WriteAt({id}, {place}, {} bytes)", bytes.len())
        }
        other => write!(f, "{other:?}"),
    }
}
