//! The processes of a world: each works for ever, until it is killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use shroom::{Db, Error, ErrorKind, Options};
use shroom_sim::{Op, Random, assert_sound, run};

use crate::content::{check, load, loads};
use crate::log::{Log, say};
use crate::{chronicle, process};

/// What a process is told by its environment.
const DIR: &str = "SHROOM_TEST_KILL_DIR";
const ROLE: &str = "SHROOM_TEST_KILL_ROLE";
const PARENT: &str = "SHROOM_TEST_KILL_PARENT";
const DEATH: &str = "SHROOM_TEST_KILL_SEED";

/// Names of the files that creators make begin with this.
pub(crate) const CREATED: &str = "created-";
/// Loads into one database, at most.
const LOADS_MAX: u64 = 24;

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Opens the database, writes, closes it, and again.
    Writer,
    /// Opens the database for reading, and checks everything, again and again.
    Reader,
    /// Makes databases of its own.
    Creator,
}

/// Parts of a life in which it may be made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Create,
    Open,
    Write,
    Flush,
    Checkpoint,
    Load,
    Close,
}

/// How many of them there are.
pub(crate) const PHASES: usize = ALL_PHASES.len();

const ALL_PHASES: [Phase; 7] = [
    Phase::Create,
    Phase::Open,
    Phase::Write,
    Phase::Flush,
    Phase::Checkpoint,
    Phase::Load,
    Phase::Close,
];

/// The database of the world in `dir`.
pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join("world.shroom")
}

/// How it is opened.
pub(crate) fn options() -> Options {
    Options::new().page_size(1024).journal_limit(64 << 10)
}

/// Starts a life.
pub(crate) fn command(role: Role, dir: &Path, seed: u64) -> Command {
    let mut command = process::child("lives::child");
    command.env(DIR, dir).env(DEATH, seed.to_string());
    command.env(ROLE, format!("{role:?}"));
    command.env(PARENT, std::process::id().to_string());
    command
}

/// A process that was started by another.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let mut random = Random(std::env::var(DEATH).unwrap().parse().unwrap());
    let life = Life {
        database: database(dir.as_ref()),
        log: Log::existing(PathBuf::from(&dir).join("log")),
        dir: dir.into(),
        fate: Fate::new(&mut random),
        random,
        parent: std::env::var(PARENT).unwrap().parse().unwrap(),
    };
    match &*std::env::var(ROLE).unwrap() {
        "Writer" => life.write(),
        "Reader" => life.read(),
        "Creator" => life.create(),
        other => panic!("{other}?"),
    }
}

/// In which phase a process kills itself, if it lives to see it so often.
struct Fate {
    phase: Phase,
    visits: u64,
    delay: Duration,
}

impl Fate {
    fn new(random: &mut Random) -> Self {
        let scale = 4 + random.below(9);
        let micros = random.below(1 << scale);
        Self {
            phase: ALL_PHASES[random.below(PHASES as u64) as usize],
            visits: 1 + random.below(2),
            delay: Duration::from_micros(micros),
        }
    }

    /// Does something, and dies at it when the time has come.
    fn meet<T>(&mut self, phase: Phase, work: impl FnOnce() -> T) -> T {
        if phase != self.phase || self.visits == 0 {
            return work();
        }
        self.visits -= 1;
        if self.visits > 0 {
            return work();
        }
        let (process, delay) = (std::process::id().to_string(), self.delay);
        say("enter", &format!("{process} {phase:?}"));
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        });
        let result = work();
        say("leave", &process);
        result
    }
}

struct Life {
    dir: PathBuf,
    database: PathBuf,
    log: Log,
    fate: Fate,
    random: Random,
    /// The process that started this one.
    parent: u32,
}

impl Life {
    /// Waits a moment. Nobody is there to kill the child of a parent that was killed itself.
    fn rest(&mut self, micros: u64) {
        assert!(
            std::os::unix::process::parent_id() == self.parent,
            "orphaned"
        );
        std::thread::sleep(Duration::from_micros(self.random.below(micros)));
    }

    fn write(mut self) -> ! {
        loop {
            let options = options().background(self.random.below(2) == 0);
            let opened = self.fate.meet(Phase::Open, || options.open(&self.database));
            match opened {
                Ok(db) => {
                    self.write_to(&db);
                    let tag = db.tag();
                    self.fate.meet(Phase::Close, || db.close()).unwrap();
                    say("durable", &tag.to_string());
                }
                Err(error) => self.is_locked(&error),
            }
            self.rest(3000);
        }
    }

    /// The only reason not to open, and it names the file.
    fn is_locked(&self, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        let message = error.to_string();
        assert!(message.contains("world.shroom"), "{message}");
        say("locked", "");
    }

    fn write_to(&mut self, db: &Db) {
        // Nobody else writes now, so all that is acknowledged is in the log.
        check(db, &self.log.read());
        say("durable", &db.tag().to_string());
        let mut loaded = loads(&db.snapshot());
        for _ in 0..self.random.below(24) {
            let tag = db.tag();
            let durable = match self.random.below(12) {
                0 => self
                    .fate
                    .meet(Phase::Checkpoint, || db.checkpoint())
                    .map(|()| tag),
                1 | 2 if loaded < LOADS_MAX => {
                    loaded += 1;
                    self.load(db, loaded);
                    Ok(tag)
                }
                1..4 => self.fate.meet(Phase::Flush, || db.flush()).map(|()| tag),
                choice => {
                    let op = Op::Batch(chronicle::batch(tag + 1), choice < 7);
                    self.fate.meet(Phase::Write, || run(db, &op)).unwrap();
                    if !op.acknowledges() {
                        continue;
                    }
                    Ok(tag + 1)
                }
            };
            say("durable", &durable.unwrap().to_string());
        }
    }

    fn load(&mut self, db: &Db, number: u64) {
        let count = self.fate.meet(Phase::Load, || db.bulk_load(load(number)));
        assert_eq!(count.unwrap(), load(number).count() as u64);
        say("loads", &number.to_string());
    }

    fn read(mut self) -> ! {
        loop {
            let before = self.log.read();
            let opened = self
                .fate
                .meet(Phase::Open, || Db::open_read_only(&self.database));
            match opened {
                Ok(db) => {
                    // No writer is there, and none comes as long as this is open.
                    let said = self.log.read();
                    check(&db, &said);
                    self.rest(2000);
                    check(&db, &said);
                    assert_sound(&db);
                    drop(db);
                }
                Err(error) if before.may_be_blank(&error) => {}
                Err(error) if error.kind() == ErrorKind::Io => {
                    let absent = error.to_string().contains("No such file");
                    assert!(absent && before.durable.is_none(), "{error}");
                }
                Err(error) => self.is_locked(&error),
            }
            self.rest(4000);
        }
    }

    fn create(mut self) -> ! {
        for number in 0.. {
            let name = format!("{CREATED}{}-{number}", std::process::id());
            let path = self.dir.join(&name);
            let options = options().create_new(true);
            let db = self
                .fate
                .meet(Phase::Create, || options.open(&path))
                .unwrap();
            db.put(1, name.as_bytes()).unwrap();
            self.fate.meet(Phase::Flush, || db.flush()).unwrap();
            say("created", &name);
            self.fate.meet(Phase::Close, || db.close()).unwrap();
            self.rest(3000);
        }
        unreachable!("there is always a next one")
    }
}
