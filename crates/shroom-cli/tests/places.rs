//! Files that cannot be opened or grown: what the commands say, and the exit codes.

#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{fail, run_with_input, stderr, succeed};
use tempfile::TempDir;

fn filled() -> (TempDir, String) {
    let temporary = TempDir::new().unwrap();
    let file = temporary.path().join("db.shroom");
    let file = file.to_str().unwrap().to_owned();
    let output = run_with_input(["put", &file, "1"], &[7; 9000]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (temporary, file)
}

#[test]
fn a_truncated_file_is_said_to_be_truncated() {
    let (_temporary, file) = filled();
    let bytes = fs::read(&file).unwrap();
    for command in [
        &["get", &file, "1"][..],
        &["ls", &file],
        &["stat", &file],
        &["put", &file, "2"],
        &["shell", &file],
    ] {
        let cut = &bytes[..bytes.len() - 1];
        fs::write(&file, cut).unwrap();
        let message = fail(1, command);
        assert!(
            message.contains("truncated") && message.contains("db.shroom"),
            "{message}"
        );
        assert!(fs::read(&file).unwrap() == cut, "{command:?} changed it");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let (temporary, _) = filled();
    let pipe = temporary.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    let mut places = vec![Path::new("/dev/null"), Path::new("/dev/zero")];
    if made.is_ok_and(|status| status.success()) {
        places.push(&pipe);
    } else {
        println!("no mkfifo here: pipes are not tried");
    }
    for place in places {
        let place = place.to_str().unwrap();
        for command in [
            &["ls", place][..],
            &["verify", place],
            &["put", place, "1"],
            &["shell", place],
        ] {
            let message = fail(2, command);
            assert!(
                message.contains("not a regular file") && message.contains(place),
                "{message}"
            );
        }
    }
}

/// No file of this process may be longer than some tens of kilobytes, as on a full disk.
#[test]
fn a_full_disk_is_said_to_be_full() {
    let (temporary, file) = filled();
    let value = temporary.path().join("value");
    fs::write(&value, vec![1; 1 << 20]).unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_shroom"))
        .args(["put", &file, "2"])
        .arg(&value)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("no space to grow") && message.contains("db.shroom"),
        "{message}"
    );
    succeed(["verify", &file]);
    assert_eq!(succeed(["get", &file, "1"]), [7; 9000]);
    succeed(["put", &file, "2", value.to_str().unwrap()]);
    assert_eq!(succeed(["get", &file, "2"]).len(), 1 << 20);
}
