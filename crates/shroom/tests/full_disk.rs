//! A disk that is really full: every write that does not fit says so, nothing is lost, nothing is signalled, and the
//! database goes on once there is space.
//!
//! Two ways to fill it: a small tmpfs in a mount namespace of its own, where the system lets us make one, and a limit on
//! the length of files, which every Unix has.

#![cfg(unix)]

#[path = "support/process.rs"]
mod process;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shroom::{Db, ErrorKind, Options};
use shroom_sim::{Model, Random, assert_sound};

/// Set for the process that meets the full disk: the directory to work in, or the place to mount one.
const DIR: &str = "SHROOM_TEST_FULL_DIR";
/// What the database may take, in bytes.
const SPACE: u64 = 3 << 20;
const DATABASE: &str = "full.shroom";

fn options() -> Options {
    Options::new().page_size(1024).journal_limit(128 << 10)
}

/// A place with little space.
trait Place {
    /// Before the database is made.
    fn prepare(&self, dir: &Path);
    /// Leaves no space to grow the database.
    fn fill(&self, dir: &Path);
    /// Does something while there is no space for anything.
    fn without_any_space(&self, work: &mut dyn FnMut());
    /// Gives space for as much again as was there.
    fn relieve(&self, dir: &Path);
}

/// A file system of `SPACE` bytes and a half. A second file takes that half, and gives it back in the end.
struct SmallDisk;

impl SmallDisk {
    fn add_ballast(dir: &Path, limit: u64) -> io::Result<()> {
        let path = dir.join("ballast");
        let mut ballast = OpenOptions::new().create(true).append(true).open(path)?;
        (0..limit / 4096).try_for_each(|_| ballast.write_all(&[1; 4096]))
    }
}

impl Place for SmallDisk {
    fn prepare(&self, dir: &Path) {
        Self::add_ballast(dir, SPACE / 2).unwrap();
    }

    fn fill(&self, dir: &Path) {
        let error = Self::add_ballast(dir, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    fn without_any_space(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn relieve(&self, dir: &Path) {
        fs::remove_file(dir.join("ballast")).unwrap();
    }
}

/// A limit on the length of each file.
struct LengthLimit;

/// Sets the limit, and returns the one before.
fn limit_length(bytes: Option<u64>) -> Option<u64> {
    let before = getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: bytes.or(before.maximum),
        maximum: before.maximum,
    };
    setrlimit(Resource::Fsize, limit).unwrap();
    before.current
}

impl Place for LengthLimit {
    fn prepare(&self, _dir: &Path) {
        limit_length(Some(SPACE));
    }

    fn fill(&self, dir: &Path) {
        // Not less: what is within the file must stay writable, as it does on a full disk.
        limit_length(Some(fs::metadata(dir.join(DATABASE)).unwrap().len()));
    }

    fn without_any_space(&self, work: &mut dyn FnMut()) {
        let before = limit_length(Some(0));
        work();
        limit_length(before);
    }

    fn relieve(&self, _dir: &Path) {
        limit_length(None);
    }
}

/// Puts until there is no space, and returns what the database must hold.
fn fill_database(db: &Db, random: &mut Random) -> Model {
    let mut model = Model::read(db).unwrap();
    for stamp in 1_u64.. {
        let (id, len) = (random.below(5000), 1 + random.below(1500));
        let value = random.bytes(len as usize);
        let mut batch = db.batch();
        batch.put(id, &value).tag(stamp);
        match batch.commit() {
            Ok(()) => {
                model.tokens.insert(id, value);
                model.tag = stamp;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                assert!(stamp > 200, "full after {stamp} batches");
                return model;
            }
        }
        assert!(stamp < 100_000, "the disk is not small");
    }
    unreachable!("a disk of that size")
}

/// Errors but for a full disk are not expected.
fn fits<T>(result: shroom::Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            false
        }
    }
}

/// Every way to write, while nothing can grow: either it is done, in what space the file has, or it is not.
fn write_into_nothing(db: &Db, model: &mut Model) {
    let mut refused = 0;
    for round in 0..20_u8 {
        let value = vec![round; 40_000];
        if fits(db.put(9000, &value)) {
            model.tokens.insert(9000, value);
        } else {
            refused += 1;
        }
        let more = vec![round; 300_000];
        if fits(db.append(9001, &more)) {
            model.tokens.entry(9001).or_default().extend(more);
        } else {
            refused += 1;
        }
        let loaded = db.bulk_load((0..4000).map(|id| (10_000 + id, [3; 1000])));
        assert!(!fits(loaded), "four megabytes have no place");
        assert!(Model::read(db).unwrap() == *model, "round {round}");
    }
    assert!(refused > 0);
    db.flush().unwrap();
}

/// What a full disk does to a database.
fn meet_the_end(place: &dyn Place, dir: &Path) {
    let mut random = Random(3);
    let (path, second) = (dir.join(DATABASE), dir.join("second.shroom"));
    place.prepare(dir);
    let db = options().open(&path).unwrap();
    let mut model = fill_database(&db, &mut random);
    place.fill(dir);
    write_into_nothing(&db, &mut model);
    // To close means to make a checkpoint, for which there may be no space; what is flushed is durable in any case.
    fits(db.close());
    for read_only in [true, false] {
        let db = options().read_only(read_only).open(&path).unwrap();
        assert!(Model::read(&db).unwrap() == model, "read-only {read_only}");
        assert_sound(&db);
        fits(db.close());
    }
    let db = options().open(&path).unwrap();
    // What closing gave back is taken again.
    place.fill(dir);
    place.without_any_space(&mut || assert!(!fits(options().open(&second))));

    place.relieve(dir);
    // The same handle goes on.
    db.put(9002, &[1; 100_000]).unwrap();
    for id in model.tokens.keys() {
        assert!(db.delete(*id).unwrap());
    }
    db.checkpoint().unwrap();
    db.put(1, b"after").unwrap();
    db.close().unwrap();
    let db = options().open(&path).unwrap();
    assert_eq!(
        db.keys(..).map(Result::unwrap).collect::<Vec<_>>(),
        [1, 9002]
    );
    assert_eq!(db.get(1).unwrap().unwrap(), b"after");
    assert_eq!(db.tag(), model.tag);
    assert_sound(&db);
    // What the failed creation left counts as absent.
    let second = options().open(&second).unwrap();
    second.put(1, b"made at last").unwrap();
    second.close().unwrap();
    println!("{} tokens before the disk was full", model.tokens.len());
}

/// In a process of its own, whose file system is mounted for it.
#[test]
fn on_a_small_disk() {
    if let Some(dir) = std::env::var_os(DIR) {
        meet_the_end(&SmallDisk, Path::new(&dir));
    }
}

/// In a process of its own, since the limit is the process's.
#[test]
fn under_a_length_limit() {
    if let Some(dir) = std::env::var_os(DIR) {
        meet_the_end(&LengthLimit, Path::new(&dir));
    }
}

/// `sh -c SCRIPT`, with the test `name` in another process as its arguments.
fn run_through(script: &str, name: &str, dir: &Path) {
    let child = process::child(name);
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(child.get_program());
    shell.args(child.get_args()).env(DIR, dir);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}: {}\n{out}{err}",
        output.status
    );
    assert!(out.contains("before the disk was full"), "{out}{err}");
    print!("{out}");
}

/// The command that mounts a small tmpfs on `$DIR`, seen by nobody else, and goes on with the arguments.
fn mounting() -> String {
    // A half more than the limit, so that tmpfs has room for its own needs and the second file.
    format!(
        "mount -t tmpfs -o size={} tmpfs \"${DIR}\" && exec \"$0\" \"$@\"",
        SPACE + SPACE / 2
    )
}

#[test]
fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let unshared = |script: &str| format!("exec unshare -rm sh -c '{script}' \"$0\" \"$@\"");
    let permitted = Command::new("sh")
        .args(["-c", &unshared(&mounting()), "true"])
        .env(DIR, dir.path())
        .output();
    if !permitted.is_ok_and(|output| output.status.success()) {
        println!("skipped: no file system can be mounted here, not even in a namespace of its own");
        return;
    }
    run_through(&unshared(&mounting()), "on_a_small_disk", dir.path());
    let left: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "the disk was not the small one: {left:?}");
}

#[test]
fn a_file_at_its_length_limit_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Without this the system ends a process that reaches the limit.
    let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
    run_through(script, "under_a_length_limit", dir.path());
}
