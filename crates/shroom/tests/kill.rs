//! A real process, killed while it writes: everything that it acknowledged is there, and no batch by half.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use shroom::{Db, Options};
use shroom_sim::{Random, assert_sound};

/// Set for the child: the database's path.
const CHILD: &str = "SHROOM_TEST_KILL_PATH";
const IDS: u64 = 300;
const PER_BATCH: u64 = 6;

fn open(path: &str) -> Db {
    Options::new()
        .page_size(1024)
        .journal_limit(64 << 10)
        .open(path)
        .unwrap()
}

/// Batch `stamp` writes these ids.
fn ids(stamp: u64) -> impl Iterator<Item = u64> {
    (0..PER_BATCH).map(move |index| (stamp * 37 + index * 53) % IDS)
}

fn value(stamp: u64, id: u64) -> Vec<u8> {
    let mut random = Random(stamp << 20 | id);
    let len = if stamp.is_multiple_of(40) {
        70_000
    } else {
        random.below(900)
    };
    random.bytes(len as usize)
}

/// The child: writes batches for ever, and says which are durable.
#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let db = open(&path);
    let mut out = std::io::stdout();
    for stamp in db.tag() + 1.. {
        let mut batch = db.batch();
        for id in ids(stamp) {
            batch.put(id, &value(stamp, id));
        }
        batch.tag(stamp);
        batch.commit().unwrap();
        if stamp.is_multiple_of(3) {
            db.flush().unwrap();
            writeln!(out, "durable {stamp}").unwrap();
            out.flush().unwrap();
        }
    }
}

fn check(path: &str, acknowledged: u64) -> u64 {
    // Every other time the next child finds the file as the kill left it.
    let db = if acknowledged.is_multiple_of(2) {
        open(path)
    } else {
        Db::open_read_only(path).unwrap()
    };
    let stamp = db.tag();
    assert!(
        stamp >= acknowledged,
        "{stamp} found, {acknowledged} acknowledged"
    );
    let mut newest = std::collections::BTreeMap::new();
    for stamp in 1..=stamp {
        newest.extend(ids(stamp).map(|id| (id, stamp)));
    }
    let mut found = 0;
    for token in db.iter() {
        let (id, bytes) = token.unwrap();
        assert!(
            bytes == value(newest[&id], id),
            "token {id} at stamp {stamp}"
        );
        found += 1;
    }
    assert_eq!(found, newest.len());
    assert_sound(&db);
    db.close().unwrap();
    stamp
}

#[test]
fn killed_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("killed.shroom");
    let path = path.to_str().unwrap();
    let mut random = Random(9);
    let mut stamp = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            // The last line may be cut; those before it are whole.
            let acknowledged = lines.map_while(Result::ok).filter_map(|line| {
                let (_, stamp) = line.split_once("durable ")?;
                stamp.parse::<u64>().ok()
            });
            acknowledged.last().unwrap_or(0)
        });
        std::thread::sleep(Duration::from_millis(20 + random.below(120)));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = reader.join().unwrap();
        let found = check(path, acknowledged.max(stamp));
        assert!(found >= stamp, "round {round}");
        stamp = found;
    }
    println!("{stamp} batches over 20 kills");
    assert!(stamp > 0);
}
