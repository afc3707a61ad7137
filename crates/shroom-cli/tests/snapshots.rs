//! `shroom snapshot`, and `--at` on the commands that read.

mod common;

use std::fs;

use common::{fail, json, run_with_input, succeed};
use serde_json::json as expected;
use tempfile::TempDir;

/// A database with snapshots "one" and "two", and changes after each.
fn setup() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("db.shroom").to_str().unwrap().to_owned();
    let put = |id: &str, bytes: &[u8]| {
        let output = run_with_input(["put", &file, id], bytes);
        assert_eq!(output.status.code(), Some(0));
    };
    put("1", b"first");
    put("2", b"second");
    assert!(succeed(["snapshot", &file, "save", "one"]).is_empty());
    put("2", b"other");
    put("3", b"third");
    succeed(["snapshot", &file, "save", "two"]);
    succeed(["del", &file, "1"]);
    (folder, file)
}

#[test]
fn snapshots_are_saved_listed_and_read() {
    let (_folder, file) = setup();
    let listed = String::from_utf8(succeed(["snapshot", &file, "ls"])).unwrap();
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0][..3], ["one", "2", "11"]);
    assert_eq!(lines[1][..3], ["two", "3", "15"]);
    let documents = json(&succeed(["snapshot", &file, "ls", "--json"]));
    assert_eq!(documents[0]["name"], "one");
    assert_eq!(documents[0]["tokens"], 2);
    assert_eq!(documents[0]["own_bytes"].to_string(), lines[0][3]);

    assert_eq!(succeed(["get", &file, "2", "--at", "one"]), b"second");
    assert_eq!(succeed(["get", &file, "2"]), b"other");
    assert_eq!(succeed(["get", "--at", "two", &file, "1"]), b"first");
    assert!(fail(1, ["get", &file, "3", "--at", "one"]).contains("no token 3"));
    assert_eq!(succeed(["ls", &file, "--at", "one"]), b"1\t5\n2\t6\n");
    assert_eq!(succeed(["ls", &file]), b"2\t5\n3\t5\n");
    let stat = json(&succeed(["stat", &file, "--at", "one", "--json"]));
    assert_eq!(
        (&stat["tokens"], &stat["payload_bytes"]),
        (&expected!(2), &expected!(11))
    );
    let stat = json(&succeed(["stat", &file, "2", "--at", "one", "--json"]));
    assert_eq!(stat["length"], 6);
    let stat = json(&succeed(["stat", &file, "--json"]));
    assert_eq!(stat["snapshots"], 2);
    assert!(stat["pages"]["snapshots"].as_u64().unwrap() >= 2);
    succeed(["verify", &file]);
}

#[test]
fn snapshots_are_compared() {
    let (_folder, file) = setup();
    assert_eq!(
        succeed(["snapshot", &file, "diff", "one", "two"]),
        b"~2\n+3\n"
    );
    assert_eq!(
        succeed(["snapshot", &file, "diff", "two", "one"]),
        b"~2\n-3\n"
    );
    assert_eq!(succeed(["snapshot", &file, "diff", "two"]), b"-1\n");
    assert_eq!(succeed(["snapshot", &file, "diff", "two", "two"]), b"");
    let documents = json(&succeed(["snapshot", &file, "diff", "--json", "one"]));
    let wanted = expected!([
        { "id": 1, "change": "removed" },
        { "id": 2, "change": "changed" },
        { "id": 3, "change": "added" },
    ]);
    assert_eq!(documents, wanted);
    let none = succeed(["snapshot", &file, "diff", "--json", "two", "two"]);
    assert_eq!(json(&none), expected!([]));
}

#[test]
fn snapshots_are_restored_and_removed() {
    let (_folder, file) = setup();
    succeed(["snapshot", &file, "restore", "one"]);
    assert_eq!(succeed(["ls", &file]), b"1\t5\n2\t6\n");
    assert_eq!(succeed(["get", &file, "3", "--at", "two"]), b"third");
    succeed(["snapshot", &file, "rm", "one"]);
    assert_eq!(succeed(["get", &file, "2"]), b"second");
    succeed(["snapshot", &file, "rm", "two"]);
    assert!(succeed(["snapshot", &file, "ls"]).is_empty());
    let stat = json(&succeed(["stat", &file, "--json"]));
    assert_eq!(
        (&stat["snapshots"], &stat["pages"]["snapshots"]),
        (&expected!(0), &expected!(0))
    );
    succeed(["verify", &file]);
}

#[test]
fn what_is_absent_or_taken_is_said() {
    let (folder, file) = setup();
    for arguments in [
        &["snapshot", &file, "restore", "none"][..],
        &["snapshot", &file, "rm", "none"],
        &["snapshot", &file, "diff", "one", "none"],
        &["get", &file, "1", "--at", "none"],
        &["ls", &file, "--at", "none"],
        &["stat", &file, "--at", "none"],
    ] {
        let message = fail(1, arguments);
        assert!(message.contains("no snapshot named \"none\""), "{message}");
    }
    assert!(fail(2, ["snapshot", &file, "save", "one"]).contains("named \"one\" already"));
    assert!(fail(2, ["snapshot", &file, "save", ""]).contains("1 to 255 bytes"));
    assert!(fail(2, ["snapshot", &file, "save", "a\nb"]).contains("control characters"));
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    fail(2, ["snapshot", &absent, "save", "one"]);
    assert!(!folder.path().join("absent").exists());
}

#[test]
fn an_export_may_be_of_a_snapshot() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, input) = (path("db.shroom"), path("in"));
    fs::create_dir(&input).unwrap();
    fs::write(folder.path().join("in/name"), b"before").unwrap();
    succeed(["import", &file, &input]);
    succeed(["snapshot", &file, "save", "one"]);
    assert_eq!(
        run_with_input(["put", &file, "1"], b"after").status.code(),
        Some(0)
    );
    succeed(["export", &file, &path("new")]);
    succeed(["export", "--at", "one", &file, &path("old")]);
    assert_eq!(fs::read(folder.path().join("new/name")).unwrap(), b"after");
    assert_eq!(fs::read(folder.path().join("old/name")).unwrap(), b"before");
}
