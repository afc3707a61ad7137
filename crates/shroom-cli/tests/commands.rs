//! The short commands: what they print, and the exit codes 0, 1 and 2.

mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use common::{Shell, fail, json, run, run_with_input, shroom, stderr, succeed};
use tempfile::TempDir;

struct Setup {
    temporary: TempDir,
    /// The database's path, as an argument.
    file: String,
}

impl Setup {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        let file = temporary
            .path()
            .join("db.shroom")
            .to_str()
            .unwrap()
            .to_owned();
        Self { temporary, file }
    }

    /// With tokens 1 to 5 of 100 to 500 bytes.
    fn filled() -> Self {
        let setup = Self::new();
        for id in 1..=5_u8 {
            let output = run_with_input(
                ["put", &setup.file, &id.to_string()],
                &vec![id; usize::from(id) * 100],
            );
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert!(output.stdout.is_empty());
        }
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }
}

#[test]
fn put_get_and_del() {
    let setup = Setup::filled();
    let file = &*setup.file;
    assert_eq!(succeed(["get", file, "3"]), vec![3; 300]);
    fs::write(setup.path("bytes"), b"\x00\xff\n").unwrap();
    let report = succeed([
        "put",
        "--json",
        file,
        "0x10",
        setup.path("bytes").to_str().unwrap(),
    ]);
    assert_eq!(json(&report), serde_json::json!({ "id": 16, "length": 3 }));
    assert_eq!(succeed(["get", file, "16"]), b"\x00\xff\n");
    succeed(["put", file, "7", "-"]);
    assert_eq!(succeed(["get", file, "7"]), b"");
    succeed(["put", file, "18446744073709551615"]);

    succeed(["del", file, "16"]);
    assert!(fail(1, ["get", file, "16"]).contains("no token 16"));
    assert!(fail(1, ["del", file, "16"]).contains("no token 16"));
    let output = run(["del", "--json", file, "1", "99", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        json(&output.stdout),
        serde_json::json!({ "deleted": [1, 2], "absent": [99] })
    );
}

/// Longer than what a writer gathers: what was there stays until everything has come.
#[test]
fn long_values_pass_through_pipes() {
    let setup = Setup::new();
    let value: Vec<u8> = (0..5_000_011_u32)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect();
    let put = run_with_input(["put", &setup.file, "7", "--json"], &value);
    assert_eq!(put.status.code(), Some(0), "{}", stderr(&put));
    assert_eq!(json(&put.stdout)["length"], value.len() as u64);
    assert!(succeed(["get", &setup.file, "7"]) == value);
    let absent = setup.path("absent.shroom");
    let directory = setup.temporary.path().to_str().unwrap();
    fail(2, ["put", absent.to_str().unwrap(), "1", directory]);
    assert!(!absent.exists(), "a directory has no bytes to store");
}

/// A pipe may begin with the file itself, which is locked only when what is put has come.
#[test]
fn put_locks_the_file_when_there_is_something_to_write() {
    let setup = Setup::filled();
    let mut put = shroom()
        .args(["put", &setup.file, "500"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Should it not have come to read by then, there is nothing to be seen.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let value = succeed(["get", &setup.file, "3"]);
    put.stdin.take().unwrap().write_all(&value).unwrap();
    assert!(put.wait().unwrap().success());
    assert_eq!(succeed(["get", &setup.file, "500"]), value);
}

#[test]
fn ls_prints_ids_and_lengths() {
    let setup = Setup::filled();
    let ls = |arguments: &[&str]| {
        let output = succeed(["ls", &setup.file].iter().chain(arguments));
        String::from_utf8(output).unwrap()
    };
    assert_eq!(ls(&[]), "1\t100\n2\t200\n3\t300\n4\t400\n5\t500\n");
    assert_eq!(ls(&["--range", "2..4"]), "2\t200\n3\t300\n");
    assert_eq!(ls(&["--range", "4.."]), "4\t400\n5\t500\n");
    assert_eq!(ls(&["--range", "..=1"]), "1\t100\n");
    assert_eq!(ls(&["--range", "9.."]), "");
    assert_eq!(ls(&["--reverse", "--range", "..3"]), "2\t200\n1\t100\n");
    assert_eq!(
        ls(&["--long", "--range", "1..2"])
            .trim_end()
            .split('\t')
            .count(),
        5
    );
    let list = json(ls(&["--json"]).as_bytes());
    assert_eq!(list.as_array().unwrap().len(), 5);
    assert_eq!(list[4], serde_json::json!({ "id": 5, "length": 500 }));
    assert_eq!(
        json(ls(&["--json", "--range", "9.."]).as_bytes()),
        serde_json::json!([])
    );
    assert!(json(ls(&["--json", "--long"]).as_bytes())[0]["page"].is_u64());
    fail(2, ["ls", &setup.file, "--range", "5..1"]);
}

#[test]
fn stat_prints_figures() {
    let setup = Setup::filled();
    let file = &*setup.file;
    let text = String::from_utf8(succeed(["stat", file])).unwrap();
    assert!(
        text.contains("tokens") && text.contains("1,500 bytes"),
        "{text}"
    );
    let figures = json(&succeed(["stat", "--json", file]));
    assert_eq!(figures["tokens"], 5);
    assert_eq!(figures["payload_bytes"], 1500);
    assert_eq!(figures["file_bytes"], fs::metadata(file).unwrap().len());
    assert!(figures["pages"]["storage"].is_u64());
    let token = json(&succeed(["stat", "--json", file, "4"]));
    assert_eq!(token["length"], 400);
    assert!(
        String::from_utf8(succeed(["stat", file, "4"]))
            .unwrap()
            .contains("400 bytes")
    );
    assert!(fail(1, ["stat", file, "6"]).contains("no token 6"));
}

#[test]
fn verify_says_sound_or_what_is_wrong() {
    let setup = Setup::filled();
    let file = &*setup.file;
    assert!(succeed(["verify", file]).starts_with(b"sound: 5 tokens"));
    let report = json(&succeed(["verify", "--json", file]));
    assert_eq!(report["sound"], true);
    assert_eq!(report["tokens"], 5);

    // The byte is in the middle of token 5's run of fives: surely part of a page that is in use.
    let mut bytes = fs::read(file).unwrap();
    let run = bytes
        .windows(500)
        .position(|window| window == [5; 500])
        .expect("token 5 lies in one piece");
    bytes[run + 250] ^= 1;
    fs::write(file, bytes).unwrap();
    let output = common::run(["verify", file]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("corrupt: ")
    );
    let output = common::run(["verify", "--json", file]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output.stdout);
    assert_eq!(report["sound"], false);
    assert!(!report["findings"].as_array().unwrap().is_empty());
    // And the damaged bytes are never printed as good ones.
    let output = common::run(["get", file, "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let setup = Setup::new();
    let text = setup.path("text");
    fs::write(&text, "just text, though a good deal of it\n".repeat(1000)).unwrap();
    let text = text.to_str().unwrap();
    for command in ["ls", "stat", "shell"] {
        let message = fail(1, [command, text]);
        assert!(
            message.contains("not a ShroomDB file") && message.contains("text"),
            "{command}: {message}"
        );
    }
    fail(1, ["verify", text]);
    for command in ["ls", "stat", "verify"] {
        let message = fail(2, [command, &setup.file]);
        assert!(message.contains("db.shroom"), "{message}");
        assert!(
            !setup.path("db.shroom").exists(),
            "inspection creates nothing"
        );
    }
    fail(2, ["del", &setup.file, "1"]);
    assert!(!setup.path("db.shroom").exists());
    let directory = setup.temporary.path().to_str().unwrap();
    fail(2, ["ls", directory]);
    fail(2, ["put", directory, "1"]);
}

#[test]
fn a_locked_database_is_said_to_be_locked() {
    let setup = Setup::filled();
    let mut shell = Shell::start(setup.file.as_ref());
    assert_eq!(shell.ask("get 9"), "none");
    for arguments in [
        &["put", &setup.file, "1"][..],
        &["ls", &setup.file],
        &["shell", &setup.file],
        &["verify", &setup.file],
    ] {
        let message = fail(2, arguments);
        assert!(
            message.contains("locked") && message.contains("db.shroom"),
            "{message}"
        );
        assert_eq!(message.matches("db.shroom").count(), 1, "{message}");
    }
    assert!(shell.finish().success());
    succeed(["verify", &setup.file]);
}

#[test]
fn inspection_leaves_the_file_as_it_is() {
    let setup = Setup::filled();
    let before = fs::read(&setup.file).unwrap();
    for command in [
        &["ls", &setup.file][..],
        &["stat", &setup.file],
        &["verify", &setup.file],
        &["get", &setup.file, "1"],
    ] {
        succeed(command);
    }
    assert!(before == fs::read(&setup.file).unwrap());
}

#[test]
fn usage_errors_exit_with_2() {
    let setup = Setup::filled();
    let file = &*setup.file;
    for arguments in [
        &[][..],
        &["grow", file],
        &["get", file],
        &["get", file, "one"],
        &["get", file, "-1"],
        &["put", file, "1", "/no/such/file"],
        &["ls", file, "--range", "x"],
        &["del", file],
    ] {
        fail(2, arguments);
    }
    assert_eq!(run(["--help"]).status.code(), Some(0));
    assert_eq!(run(["--version"]).status.code(), Some(0));
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(succeed(["completions", shell])).unwrap();
        for command in ["import", "export", "verify", "shell"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    fail(2, ["completions", "csh"]);
}

#[test]
fn salvage_recovers_and_says_what_is_lost() {
    let setup = Setup::filled();
    let (file, new) = (&*setup.file, setup.path("new"));
    let new = new.to_str().unwrap();
    let report = json(&succeed(["salvage", "--json", file, new]));
    assert_eq!(
        (&report["tokens"], &report["lost"]),
        (&5.into(), &serde_json::json!([]))
    );
    assert_eq!(succeed(["get", new, "3"]), vec![3; 300]);
    assert!(fail(2, ["salvage", file, new]).contains("exists"));

    // Token 5's bytes: the page that holds them is lost with all on it.
    let mut image = fs::read(file).unwrap();
    let at = image
        .windows(100)
        .position(|window| window == [5; 100])
        .unwrap();
    image[at] ^= 1;
    fs::write(file, &image).unwrap();
    fs::remove_file(new).unwrap();
    let output = run(["salvage", file, new]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("lost: ids") && text.contains("does not match its hash"),
        "{text}"
    );
    assert_eq!(fs::read(file).unwrap(), image);
    succeed(["verify", new]);

    fs::write(file, [0; 5000]).unwrap();
    fs::remove_file(new).unwrap();
    fail(1, ["salvage", file, new]);
    assert!(!setup.path("new").exists());
}

#[test]
fn compact_gives_equal_files_for_equal_tokens() {
    let setup = Setup::filled();
    let file = &setup.file;
    let new = setup.path("new");
    let new = new.to_str().unwrap();
    succeed(["snapshot", file, "save", "five"]);
    let report = json(&succeed(["compact", file, "--into", new, "--json"]));
    let compacted = fs::read(new).unwrap();
    assert_eq!(
        (&report["tokens"], &report["payload_bytes"]),
        (&5.into(), &1500.into())
    );
    assert_eq!(report["file_bytes"], compacted.len());
    assert!(succeed(["verify", new]).starts_with(b"sound"));
    assert_eq!(succeed(["ls", new]), succeed(["ls", file]));
    assert!(succeed(["snapshot", new, "ls"]).is_empty());

    // What is there is not replaced.
    let message = fail(2, ["compact", file, "--into", new]);
    assert!(message.contains(new), "{message}");
    assert!(fs::read(new).unwrap() == compacted);
    assert!(fail(2, ["compact", file, "--at", "five"]).contains("--into"));

    // Another history of the same tokens, and a snapshot of them.
    succeed(["del", file, "3"]);
    let other = Setup::new();
    for id in [4, 2, 5, 1_u8] {
        let value = vec![id; usize::from(id) * 100];
        assert!(
            run_with_input(["put", &other.file, &id.to_string()], &value)
                .status
                .success()
        );
    }
    let [a, b, c] = ["a", "b", "c"].map(|name| setup.path(name).to_str().unwrap().to_owned());
    succeed(["compact", file, "--into", &a]);
    succeed(["compact", &other.file, "--into", &b]);
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
    let printed = succeed(["compact", file, "--into", &c, "--at", "five"]);
    assert!(String::from_utf8(printed).unwrap().contains("tokens"));
    assert!(fs::read(&c).unwrap() == compacted);

    let absent = setup.path("d");
    fail(
        1,
        [
            "compact",
            file,
            "--into",
            absent.to_str().unwrap(),
            "--at",
            "six",
        ],
    );
    assert!(!absent.exists());
    let mut bytes = fs::read(new).unwrap();
    bytes[9000] ^= 1;
    fs::write(&c, bytes).unwrap();
    fail(1, ["compact", &c, "--into", absent.to_str().unwrap()]);
    assert!(!absent.exists());
}

#[test]
fn a_proof_is_checked_without_the_database() {
    let setup = Setup::filled();
    let file = &*setup.file;
    let root = |file: &str| {
        let hashes = json(&succeed(["hash", file, "--json"]));
        hashes["page_root"].as_str().unwrap().to_owned()
    };
    let first = root(file);
    let proof = setup.path("proof");
    fs::write(&proof, succeed(["prove", file, "3"])).unwrap();
    let absent = succeed(["prove", file, "77"]);
    succeed(["snapshot", file, "save", "kept"]);
    succeed(["del", file, "3"]);
    assert!(succeed(["prove", file, "3"]) != fs::read(&proof).unwrap());
    // Saving changes no page of the state.
    assert_eq!(
        succeed(["prove", file, "3", "--at", "kept"]),
        fs::read(&proof).unwrap()
    );
    assert_ne!(root(file), first);
    fs::remove_file(file).unwrap();

    let path = proof.to_str().unwrap();
    let check = |more: &[&str]| {
        let arguments = ["check-proof", &first, "3", path];
        succeed(arguments.iter().chain(more))
    };
    assert_eq!(check(&[]), b"token 3 is present: 300 bytes\n");
    assert_eq!(check(&["--raw"]), vec![3; 300]);
    let answer = json(&check(&["--json"]));
    assert_eq!(
        answer,
        serde_json::json!({"id": 3, "present": true, "length": 300})
    );
    let piped = run_with_input(["check-proof", &first, "77"], &absent);
    assert_eq!(piped.status.code(), Some(0));
    assert_eq!(piped.stdout, b"token 77 is absent\n");
    let piped = run_with_input(["check-proof", &first, "77", "--raw"], &absent);
    assert_eq!((piped.status.code(), piped.stdout), (Some(1), vec![]));

    let last = if first.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &first[..63]);
    fail(1, ["check-proof", &other, "3", path]);
    fail(1, ["check-proof", &first, "5", path]);
    fail(2, ["check-proof", "abc", "3", path]);
    fail(2, ["check-proof", &first, "3", "no such file"]);
    let mut bytes = fs::read(&proof).unwrap();
    bytes[300] ^= 1;
    fs::write(&proof, &bytes).unwrap();
    assert!(fail(1, ["check-proof", &first, "3", path]).contains("does not hold"));
}

#[test]
fn compact_in_place_shrinks_the_file() {
    let setup = Setup::new();
    let file = &setup.file;
    for id in 1..=40_u8 {
        let value = vec![id; usize::from(id) * 200];
        let put = run_with_input(["put", file, &id.to_string()], &value);
        assert!(put.status.success());
    }
    for id in 1..=30 {
        succeed(["del", file, &id.to_string()]);
    }
    let listed = succeed(["ls", file]);
    let report = json(&succeed(["compact", file, "--json"]));
    let len = fs::metadata(file).unwrap().len();
    assert_eq!(report["file_bytes"], len);
    assert_eq!(
        (&report["tokens"], &report["canonical"]),
        (&10.into(), &true.into())
    );
    assert!(report["file_bytes_before"].as_u64().unwrap() >= len);
    assert!(succeed(["verify", file]).starts_with(b"sound"));
    assert_eq!(succeed(["ls", file]), listed);
    let new = setup.path("new");
    succeed(["compact", file, "--into", new.to_str().unwrap()]);
    assert_eq!(fs::metadata(new).unwrap().len(), len);

    succeed(["snapshot", file, "save", "kept"]);
    succeed(["del", file, "31"]);
    let printed = String::from_utf8(succeed(["compact", file])).unwrap();
    assert!(printed.contains("1 named snapshots"), "{printed}");
    assert_eq!(succeed(["ls", file, "--at", "kept"]), listed);
    fail(2, ["compact", setup.path("absent").to_str().unwrap()]);
    assert!(!setup.path("absent").exists());
}

#[test]
fn hash_prints_what_stands_for_the_content_the_pages_and_the_compacted_file() {
    let setup = Setup::filled();
    let hashes = |file: &str| json(&succeed(["hash", file, "--json"]));
    let first = hashes(&setup.file);
    let text = String::from_utf8(succeed(["hash", &setup.file])).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for (line, name) in lines.iter().zip(["content_root", "page_root", "file_hash"]) {
        assert_eq!(*line, format!("{name} {}", first[name].as_str().unwrap()));
    }
    assert_eq!(lines.len(), 3);
    let small = setup.temporary.path().join("small.shroom");
    let small = small.to_str().unwrap();
    succeed(["compact", &setup.file, "--into", small]);
    let compacted = hashes(small);
    assert_eq!(compacted["content_root"], first["content_root"]);
    assert_eq!(compacted["file_hash"], first["file_hash"]);
    succeed(["snapshot", &setup.file, "save", "kept"]);
    succeed(["del", &setup.file, "3"]);
    let later = hashes(&setup.file);
    for (name, hash) in later.as_object().unwrap() {
        assert_ne!(*hash, first[name], "{name}");
    }
    let kept = json(&succeed(["hash", &setup.file, "--at", "kept", "--json"]));
    assert_eq!(kept["content_root"], first["content_root"]);
    fail(1, ["hash", &setup.file, "--at", "no such name"]);
}
