//! Real processes on a real file, killed while they write, checkpoint, load, close, open, create and read: everything that
//! was acknowledged is there, no batch by half, the tag right, and the lock free.
//!
//! A world is one database and the processes that live and die over it; of several writers one at a time has the lock.
//! Some processes kill themselves at a random moment of a chosen phase, the others are killed from outside at a
//! random time. Longer: `cargo xtask kill`.

#![cfg(unix)]

#[path = "../support/chronicle.rs"]
mod chronicle;
mod content;
mod lives;
mod log;
#[path = "../support/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use shroom::Db;
use shroom_sim::{Random, assert_sound};

use content::check;
use lives::Role;
use log::Log;

/// How many rounds and with which seed, when not as in the normal run.
const ROUNDS: &str = "SHROOM_KILL_ROUNDS";
const SEED: &str = "SHROOM_KILL_SEED";
/// Rounds over the same file. Their number keeps it small, so that a check is quick.
const WORLD_ROUNDS: u64 = 20;
/// A process lives at most about this long.
const LIFE_MAX: Duration = Duration::from_millis(120);
/// So many rounds must have seen everything.
const LONG: u64 = 1000;
const SIGKILL: i32 = 9;

/// The parts of a world.
struct World {
    dir: tempfile::TempDir,
    log: Log,
    /// Number of processes so far.
    born: u64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(dir.path().join("log"));
        Self { dir, log, born: 0 }
    }

    fn database(&self) -> PathBuf {
        lives::database(self.dir.path())
    }

    fn give_birth(&mut self, role: Role, seed: u64) -> (Child, PathBuf) {
        self.born += 1;
        let errors = self.dir.path().join(format!("errors-{}", self.born));
        let child = lives::command(role, self.dir.path(), seed)
            .stdout(self.log.append())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        (child, errors)
    }

    /// Some processes at once, until all are dead. Returns how many there were.
    fn round(&mut self, random: &mut Random) -> u64 {
        let start = Instant::now();
        let mut alive = Vec::new();
        for number in 0..2 + random.below(3) {
            let role = match random.below(10) {
                _ if number == 0 => Role::Writer,
                0..5 => Role::Writer,
                5..8 => Role::Reader,
                _ => Role::Creator,
            };
            let child = self.give_birth(role, random.next());
            // Half of them die in the first eighth of their time, when they open and recover.
            let longest = LIFE_MAX.as_micros() as u64 >> (3 * random.below(2));
            let death = start + Duration::from_micros(5_000 + random.below(longest));
            alive.push((death, child));
        }
        alive.sort_by_key(|&(death, _)| death);
        let count = alive.len() as u64;
        for (death, (mut child, errors)) in alive {
            std::thread::sleep(death.saturating_duration_since(Instant::now()));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(
                status.signal(),
                Some(SIGKILL),
                "a process ended by itself, {status}: {}",
                fs::read_to_string(&errors).unwrap()
            );
            fs::remove_file(errors).unwrap();
        }
        count
    }

    /// What the dead left: nobody has the lock, and everything acknowledged is there.
    fn inspect(&self, read_only: bool) {
        let path = self.database();
        let log = self.log.read();
        if !path.exists() {
            assert!(log.durable.is_none(), "{log:?}");
            return;
        }
        let opened = if read_only {
            Db::open_read_only(&path)
        } else {
            lives::options().open(&path)
        };
        match opened {
            Ok(db) => {
                check(&db, &log);
                assert_sound(&db);
                db.close().unwrap();
            }
            Err(error) => assert!(read_only && log.may_be_blank(&error), "{error}, {log:?}"),
        }
    }

    /// The databases that creators made, or were making.
    fn inspect_created(&self) {
        let acknowledged = self.log.read().created;
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.starts_with(lives::CREATED) {
                continue;
            }
            let db = lives::options().open(&path).unwrap();
            match db.get(1).unwrap() {
                Some(value) => assert_eq!(value, name.as_bytes()),
                None => assert!(!acknowledged.contains(name), "{name}"),
            }
            assert_sound(&db);
            db.close().unwrap();
            self.log.note("removed", name);
            fs::remove_file(&path).unwrap();
        }
        let lost = self.log.read().created;
        assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    }

    /// Closed and opened again.
    fn end(&self) {
        self.inspect(false);
        let before = file_len(&self.database());
        self.inspect(false);
        self.inspect(true);
        assert_eq!(file_len(&self.database()), before);
    }
}

fn file_len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn killed_at_any_time() {
    let (rounds, seed) = (number_from(ROUNDS, 60), number_from(SEED, 9));
    let mut random = Random(seed);
    let (mut kills, mut locked, mut batches, mut loads) = (0, 0, 0, 0);
    let mut deaths = BTreeMap::<String, u64>::new();
    let mut done = 0;
    while done < rounds {
        let mut world = World::new();
        for _ in 0..WORLD_ROUNDS.min(rounds - done) {
            kills += world.round(&mut random);
            world.inspect_created();
            // Or not at all, so that one crash comes after another.
            match random.below(3) {
                0 => world.inspect(false),
                1 => world.inspect(true),
                _ => {}
            }
            done += 1;
        }
        world.end();
        let log = world.log.read();
        locked += log.locked;
        batches += log.durable.unwrap_or(0);
        loads += log.loads;
        for phase in log.died_in() {
            *deaths.entry(phase).or_default() += 1;
        }
        if done % (10 * WORLD_ROUNDS) == 0 {
            println!("{done} rounds, {kills} processes");
        }
    }
    println!(
        "seed {seed}: {kills} processes killed in {rounds} rounds, {batches} batches and {loads} loads acknowledged, \
         {locked} waits for the lock; dead within a phase: {deaths:?}"
    );
    assert!(batches > 0 && locked > 0);
    // How much a short run does is up to the machine.
    assert!(rounds < LONG || loads > 0 && deaths.len() == lives::PHASES);
}
