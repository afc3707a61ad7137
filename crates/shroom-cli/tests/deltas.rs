//! `shroom delta`.

mod common;

use std::fs;

use common::{fail, json, run_with_input, succeed};
use serde_json::json as expected;
use tempfile::TempDir;

/// A database with snapshots "mon", "tue" and "wed", and the path of its copy, which is not there.
fn setup() -> (TempDir, String, String) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, copy) = (path("db.shroom"), path("copy.shroom"));
    for (id, name) in [("1", "mon"), ("2", "tue"), ("3", "wed")] {
        let output = run_with_input(["put", &file, id], name.as_bytes());
        assert_eq!(output.status.code(), Some(0));
        succeed(["snapshot", &file, "save", name]);
    }
    (folder, file, copy)
}

fn page_root(arguments: &[&str]) -> String {
    let hashes = json(&succeed([&["hash", "--json"], arguments].concat()));
    hashes["page_root"].as_str().unwrap().to_owned()
}

#[test]
fn a_copy_follows_from_day_to_day() {
    let (folder, file, copy) = setup();
    let mut from: Option<&str> = None;
    for (day, ids) in [
        ("mon", "1\t3\n"),
        ("tue", "1\t3\n2\t3\n"),
        ("wed", "1\t3\n2\t3\n3\t3\n"),
    ] {
        let delta = folder.path().join(day).to_str().unwrap().to_owned();
        let mut arguments = vec!["delta", "export", &file, day, "--json", "--output", &delta];
        arguments.extend(from.iter().flat_map(|from| ["--from", *from]));
        let made = json(&succeed(&arguments));
        assert_eq!(
            (&made["to"], &made["from"]),
            (&expected!(day), &expected!(from))
        );
        assert_eq!(made["bytes"], fs::metadata(&delta).unwrap().len());
        assert_eq!(made["to_root"], page_root(&[&file, "--at", day]));
        assert_eq!(json(&succeed(["delta", "info", &delta, "--json"])), made);
        // The same through pipes.
        arguments.truncate(4);
        arguments.extend(from.iter().flat_map(|from| ["--from", *from]));
        assert_eq!(succeed(&arguments), fs::read(&delta).unwrap());
        arguments.extend(["--offset", "1000"]);
        assert_eq!(succeed(&arguments), fs::read(&delta).unwrap()[1000..]);

        let applied = json(&succeed(["delta", "apply", &copy, &delta, "--json"]));
        assert_eq!(applied["already"], false);
        assert_eq!(page_root(&[&copy]), made["to_root"]);
        assert_eq!(succeed(["ls", &copy]), ids.as_bytes());
        assert_eq!(succeed(["ls", &copy, "--at", day]), ids.as_bytes());
        let again = run_with_input(["delta", "apply", &copy, "-"], &fs::read(&delta).unwrap());
        assert_eq!(again.status.code(), Some(0));
        assert!(String::from_utf8(again.stdout).unwrap().contains("true"));
        succeed(["verify", &copy]);
        from = Some(day);
    }
}

#[test]
fn an_interrupted_export_is_resumed() {
    let (folder, file, _) = setup();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let whole = succeed(["delta", "export", &file, "wed", "--from", "mon"]);
    let delta = path("delta");
    let export = [
        "delta", "export", &file, "wed", "--from", "mon", "-o", &delta,
    ];
    for len in [0, 100, 200, 5_000, whole.len()] {
        fs::write(&delta, &whole[..len.min(whole.len())]).unwrap();
        assert!(fail(2, export).contains("cannot create"));
        succeed(export.iter().copied().chain(["--resume"]));
        assert_eq!(fs::read(&delta).unwrap(), whole, "{len}");
    }
    let resume: Vec<&str> = export.iter().copied().chain(["--resume"]).collect();
    for other in [
        succeed(["delta", "export", &file, "tue", "--from", "mon"]),
        [&whole[..], b"x"].concat(),
        vec![7; 20_000],
        b"a short note of somebody's".to_vec(),
        [&whole[..100], b"x"].concat(),
    ] {
        fs::write(&delta, &other).unwrap();
        assert!(fail(2, &resume).contains("holds something else"));
        assert_eq!(fs::read(&delta).unwrap(), other);
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let (folder, file, copy) = setup();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert!(fail(1, ["delta", "export", &file, "none"]).contains("no snapshot named \"none\""));
    let [mon, wed] = ["mon", "wed"].map(path);
    succeed(["delta", "export", &file, "mon", "-o", &mon]);
    succeed(["delta", "export", &file, "wed", "--from", "tue", "-o", &wed]);
    fail(2, ["delta", "apply", &copy, &wed]);
    assert!(!folder.path().join("copy.shroom").exists());
    succeed(["delta", "apply", &copy, &mon]);
    let message = fail(2, ["delta", "apply", &copy, &wed]);
    assert!(message.contains("leads on from page root"), "{message}");
    let mut bytes = fs::read(&mon).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let bad = path("bad");
    fs::write(&bad, &bytes).unwrap();
    let fresh = path("fresh");
    for message in [
        fail(1, ["delta", "info", &bad]),
        fail(1, ["delta", "apply", &fresh, &bad]),
    ] {
        assert!(message.contains("bad: bad delta at byte"), "{message}");
    }
    succeed(["delta", "apply", &fresh, &mon]);
    assert!(fail(1, ["delta", "info", &file]).contains("not a delta"));
    assert!(fail(2, ["delta", "info", &path("absent")]).contains("cannot read"));
}
