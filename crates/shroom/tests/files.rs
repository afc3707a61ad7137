//! Files as they are found: cut or overwritten from outside, locked by other processes, linked, copied, removed while
//! open, without permission, of strange names, or no files at all. A specific error or the right data; never a signal, and
//! never a wait.

#![cfg(unix)]

#[path = "support/process.rs"]
mod process;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use shroom::{Db, Error, ErrorKind, Options, Result};
use shroom_sim::{Model, Random, assert_sound};

const PAGE: u64 = 1024;
/// Told to processes that a test starts: where, and how.
const PLACE: &str = "SHROOM_TEST_FILES_PLACE";
const MODE: &str = "SHROOM_TEST_FILES_MODE";

/// Tests that start processes run alone: until it is the other program, a new process holds every open file, and its lock.
static TURN: RwLock<()> = RwLock::new(());

fn options() -> Options {
    Options::new().page_size(PAGE as u32).create(false)
}

/// Opens for reading only, or for writing, and never creates.
fn open(path: &Path, read_only: bool) -> Result<Db> {
    options().read_only(read_only).open(path)
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.shroom");
    (dir, path)
}

/// A closed database, and the same after some flushed writes and a crash; with the states that each may show.
fn samples() -> [(Vec<u8>, Vec<Model>); 2] {
    let (_dir, path) = place();
    let mut random = Random(7);
    let db = options().create(true).open(&path).unwrap();
    for id in 0..40_u64 {
        let len = [0, 5, 90, 250, 300, 1500, 5000][(id % 7) as usize];
        db.put(id * 3, &random.bytes(len)).unwrap();
    }
    let mut states = vec![Model::read(&db).unwrap()];
    db.close().unwrap();
    let closed = fs::read(&path).unwrap();
    let db = open(&path, false).unwrap();
    for id in 0..12 {
        let mut batch = db.batch();
        batch.put(id * 7, &random.bytes(400)).delete(id * 9);
        batch.tag(id + 1);
        batch.commit_synced().unwrap();
        states.push(Model::read(&db).unwrap());
    }
    // What is durable is in the file: a copy of it is what a crash leaves.
    let crashed = fs::read(&path).unwrap();
    [(closed, vec![states[0].clone()]), (crashed, states)]
}

/// Reads all there may be. Every value that is given must be that of the same state; or the error is one of corruption.
fn assert_right_or_corrupt(opened: Result<Db>, states: &[Model]) -> bool {
    let db = match opened {
        Ok(db) => db,
        Err(error) => {
            assert!(error.is_corruption(), "{error}");
            return false;
        }
    };
    let whole = Model::read(&db);
    let sound = db.verify().is_ok_and(|report| report.is_sound());
    assert!(!sound || whole.is_ok(), "sound, but {whole:?}");
    let values: Vec<_> = (0..150).map(|id| (id, db.get(id))).collect();
    let agrees = |state: &&Model| {
        let whole = whole.as_ref().is_ok_and(|found| found != *state);
        let mut given = values.iter().filter_map(|(id, value)| {
            let value = value.as_ref().ok()?;
            Some((id, value.as_deref()))
        });
        !whole && given.all(|(id, value)| state.tokens.get(id).map(|it| &it[..]) == value)
    };
    assert!(states.iter().any(|state| agrees(&state)), "wrong data");
    for error in values.iter().filter_map(|(_, value)| value.as_ref().err()) {
        assert!(error.is_corruption(), "{error}");
    }
    whole.is_ok()
}

#[test]
fn cut_while_closed() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (_dir, path) = place();
    for (image, _) in samples() {
        let len = image.len() as u64;
        let mut lengths: Vec<u64> = vec![0, 1, 7, 8, 16, 17, 100, 271, 272, 511, 512, len - 1];
        let pages = (1..len / PAGE).filter(|page| page % 3 == 1 || *page < 12);
        lengths.extend(pages.flat_map(|page| [page * PAGE - 1, page * PAGE, page * PAGE + 1]));
        let mut random = Random(len);
        lengths.extend((0..40).map(|_| random.below(len)));
        for cut in lengths {
            let bytes = &image[..cut as usize];
            fs::write(&path, bytes).unwrap();
            for read_only in [true, false] {
                let error = open(&path, read_only).unwrap_err();
                assert!(error.is_corruption(), "{cut} bytes: {error}");
                assert!(fs::read(&path).unwrap() == bytes, "a refusal changed it");
            }
            // With leave to create: only a file of no bytes is one to be.
            match Options::new().open(&path) {
                Ok(db) => assert!(cut == 0 && db.is_empty().unwrap(), "{cut} bytes"),
                Err(error) => assert!(cut > 0 && error.is_corruption(), "{cut} bytes: {error}"),
            }
        }
    }
}

#[test]
fn overwritten_while_closed() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (_dir, path) = place();
    let mut random = Random(12);
    let (mut right, mut tried) = (0, 0);
    for (image, states) in samples() {
        for round in 0..240_u64 {
            let mut damaged = image.clone();
            let len =
                1 + random.below([8, 300, 3 * PAGE, 20 * PAGE][(round % 4) as usize]) as usize;
            let start = random.below((image.len() - len) as u64) as usize;
            let patch = match random.below(4) {
                0 => vec![0; len],
                1 => vec![0xff; len],
                // As by a copy that went to the wrong place.
                2 => {
                    let from = random.below((image.len() - len) as u64) as usize;
                    image[from..from + len].to_vec()
                }
                _ => random.bytes(len),
            };
            damaged[start..start + len].copy_from_slice(&patch);
            // To open for writing means to sync and to close, which takes its time.
            for read_only in [true, false]
                .into_iter()
                .take(1 + (round / 4 % 4 == 0) as usize)
            {
                fs::write(&path, &damaged).unwrap();
                tried += 1;
                if assert_right_or_corrupt(open(&path, read_only), &states) {
                    right += 1;
                }
            }
        }
    }
    println!("{tried} overwritten files opened, {right} of them still right throughout");
    assert!(right > 0 && right < tried);
}

/// The other process: opens, says so, and holds on until it is killed or its input ends.
#[test]
fn holder() {
    let Some(path) = std::env::var_os(PLACE) else {
        return;
    };
    let read_only = std::env::var(MODE).unwrap() == "read";
    let db = open(path.as_ref(), read_only).unwrap();
    println!("\nholding");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(db);
}

fn hold(path: &Path, read_only: bool) -> Child {
    let mut child = process::child("holder")
        .env(PLACE, path)
        .env(MODE, if read_only { "read" } else { "write" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let holds = lines
        .map_while(Result::ok)
        .any(|line| line.ends_with("holding"));
    assert!(holds, "{:?}", child.wait());
    child
}

/// Whether the open was refused since another has the file; the error then names it.
fn is_locked(path: &Path, opened: Result<Db>) -> bool {
    match opened {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
            let message = error.to_string();
            assert!(
                message.contains(&*path.to_string_lossy()) && message.contains("locked"),
                "{message}"
            );
            true
        }
    }
}

#[test]
fn another_process_has_it() {
    let _alone = TURN.write().unwrap_or_else(PoisonError::into_inner);
    let (dir, path) = place();
    Db::create(&path).unwrap().close().unwrap();
    let link = dir.path().join("link");
    symlink("db.shroom", &link).unwrap();
    for theirs in [true, false] {
        for ours in [true, false] {
            let mut child = hold(&path, theirs);
            for path in [&path, &link] {
                assert_eq!(
                    is_locked(path, open(path, ours)),
                    !(theirs && ours),
                    "theirs read-only {theirs}, ours {ours}"
                );
            }
            // Cutting it, too, waits for the lock.
            assert!(is_locked(&path, Options::new().truncate(true).open(&path)));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!is_locked(&path, open(&path, ours)), "the dead hold it");
        }
    }
    let mut child = hold(&path, false);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!is_locked(&path, open(&path, false)));
}

#[test]
fn through_links_and_under_any_name() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (dir, path) = place();
    let db = Db::create(&path).unwrap();
    db.put(1, b"one").unwrap();
    db.close().unwrap();
    let link = dir.path().join("link");
    symlink("db.shroom", &link).unwrap();
    let db = Db::open(&link).unwrap();
    db.put(2, b"two").unwrap();
    assert!(is_locked(&path, Db::open(&path)));
    db.close().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Db::open(&path).unwrap().len().unwrap(), 2);

    let circle = dir.path().join("circle");
    symlink("circle", &circle).unwrap();
    let error = Db::open(&circle).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("circle"), "{error}");

    for name in [&b"not utf-8 \xff\xfe"[..], b"line\nfeed", b" ", b"-f"] {
        let path = dir.path().join(OsStr::from_bytes(name));
        let db = Db::create(&path).unwrap();
        db.put(1, name).unwrap();
        assert!(is_locked(&path, Db::open(&path)));
        db.close().unwrap();
        let db = Db::open_read_only(&path).unwrap();
        assert_eq!(db.get(1).unwrap().unwrap(), name);
        assert!(Db::create(&path).is_err());
    }
}

/// What an open says within ten seconds.
fn promptly(options: Options, path: PathBuf) -> Error {
    let (send, receive) = std::sync::mpsc::channel();
    let shown = format!("{options:?} {}", path.display());
    std::thread::spawn(move || send.send(options.open(path).unwrap_err()));
    receive
        .recv_timeout(Duration::from_secs(10))
        .unwrap_or_else(|error| panic!("{shown}: {error}"))
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let _alone = TURN.write().unwrap_or_else(PoisonError::into_inner);
    let (dir, path) = place();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let mut places = vec![
        dir.path().to_owned(),
        dir.path().join("socket"),
        "/dev/null".into(),
        "/dev/zero".into(),
        dir.path().join("socket/below"),
        dir.path().join("x".repeat(5000)),
        PathBuf::new(),
    ];
    let made = Command::new("mkfifo").arg(&path).status();
    if made.is_ok_and(|status| status.success()) {
        places.push(path);
    } else {
        println!("no mkfifo here: pipes are not tried");
    }
    for place in places {
        for options in [
            Options::new(),
            options(),
            Options::new().read_only(true),
            Options::new().truncate(true),
            Options::new().create_new(true),
        ] {
            let error = promptly(options, place.clone());
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            let message = error.to_string();
            assert!(message.contains(&*place.to_string_lossy()), "{message}");
        }
    }
}

/// The handle goes on with the file that it opened, wherever its name went; the lock goes with the file.
#[test]
fn removed_or_replaced_while_open() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (dir, path) = place();
    let db = options()
        .create(true)
        .journal_limit(64 << 10)
        .open(&path)
        .unwrap();
    db.put(1, b"old").unwrap();
    db.flush().unwrap();
    fs::remove_file(&path).unwrap();
    let new = Db::create(&path).unwrap();
    new.put(1, b"new").unwrap();
    new.close().unwrap();
    for id in 2..300 {
        db.put(id, &[1; 2000]).unwrap();
    }
    db.checkpoint().unwrap();
    assert_eq!(db.get(1).unwrap().unwrap(), b"old");
    assert_eq!(db.len().unwrap(), 299);
    assert_sound(&db);
    // Another name for the new file, over the name of the one that is open.
    let reader = Db::open_read_only(&path).unwrap();
    let other = dir.path().join("other");
    Db::create(&other).unwrap().close().unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(reader.get(1).unwrap().unwrap(), b"new");
    assert_sound(&reader);
    assert!(Db::open(&path).unwrap().is_empty().unwrap());
    db.close().unwrap();
    assert!(Db::open(&path).unwrap().is_empty().unwrap());
}

#[test]
fn copies_are_databases_of_their_own() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (dir, path) = place();
    for (image, states) in samples() {
        fs::write(&path, &image).unwrap();
        let copy = dir.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        let (first, second) = (open(&path, false).unwrap(), open(&copy, false).unwrap());
        assert!(Some(&Model::read(&first).unwrap()) == states.last());
        assert!(Some(&Model::read(&second).unwrap()) == states.last());
        second.put(5, b"only here").unwrap();
        first.close().unwrap();
        second.close().unwrap();
        assert!(Some(&Model::read(&open(&path, true).unwrap()).unwrap()) == states.last());
        let second = open(&copy, true).unwrap();
        assert_eq!(second.get(5).unwrap().unwrap(), b"only here");
    }
}

/// Bytes after the end that the superblock names do not count.
#[test]
fn something_hangs_on_behind() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (_dir, path) = place();
    for (image, states) in samples() {
        for tail in [&b"\n"[..], &[0; 3000], &image] {
            fs::write(&path, [&image, tail].concat()).unwrap();
            for read_only in [true, false] {
                let db = open(&path, read_only).unwrap();
                assert!(Some(&Model::read(&db).unwrap()) == states.last());
                assert_sound(&db);
                db.close().unwrap();
            }
        }
    }
}

#[test]
fn a_read_only_handle_writes_nothing() {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    let (_dir, path) = place();
    for (image, states) in samples() {
        fs::write(&path, &image).unwrap();
        let file = fs::File::open(&path).unwrap();
        let db = open(&path, true).unwrap();
        assert_eq!(db.put(1, b"x").unwrap_err().kind(), ErrorKind::Misuse);
        assert!(db.checkpoint().is_err() && db.bulk_load([(1, b"x")]).is_err());
        db.flush().unwrap();
        assert!(Some(&Model::read(&db).unwrap()) == states.last());
        db.close().unwrap();
        let mut bytes = vec![0; image.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == image && file.metadata().unwrap().len() == image.len() as u64);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn assert_denied(opened: Result<Db>, path: &Path) {
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let message = error.to_string();
    assert!(
        message.contains("ermission denied") && message.contains(&*path.to_string_lossy()),
        "{message}"
    );
}

/// In a process that permissions bind.
#[test]
fn ordinary_user() {
    let Some(dir) = std::env::var_os(PLACE) else {
        return;
    };
    let dir = Path::new(&dir);
    let [secret, kept, own] = ["secret", "kept", "own"].map(|name| dir.join(name));
    for read_only in [true, false] {
        assert_denied(open(&secret, read_only), &secret);
    }
    assert_denied(open(&kept, false), &kept);
    assert_denied(Options::new().truncate(true).open(&kept), &kept);
    assert_eq!(open(&kept, true).unwrap().len().unwrap(), 1);
    let new = dir.join("new");
    assert_denied(Db::open(&new), &new);
    assert!(!new.exists());
    // There is no second file, so the directory need not be writable.
    let db = open(&own, false).unwrap();
    for id in 0..2000 {
        db.put(id, &[7; 300]).unwrap();
    }
    db.flush().unwrap();
    db.checkpoint().unwrap();
    db.close().unwrap();
    assert_eq!(open(&own, false).unwrap().len().unwrap(), 2000);
    println!("\npermissions were checked");
}

#[test]
fn without_permission() {
    let _alone = TURN.write().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    for (name, mode) in [("secret", 0o000), ("kept", 0o444), ("own", 0o666)] {
        let path = dir.path().join(name);
        let db = Db::create(&path).unwrap();
        db.put(1, b"one").unwrap();
        db.close().unwrap();
        set_mode(&path, mode);
    }
    set_mode(dir.path(), 0o555);
    let mut child = process::child("ordinary_user");
    child.env(PLACE, dir.path()).current_dir("/");
    if rustix::process::geteuid().is_root() {
        // Nobody's, by convention.
        child.uid(65534).gid(65534);
    }
    let output = child.output();
    set_mode(dir.path(), 0o755);
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: another user cannot run this program: {error}");
            return;
        }
    };
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("permissions were checked"), "{out}{err}");
}
