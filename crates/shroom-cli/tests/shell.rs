//! `shell`: piped, line by line, interrupted and killed.

mod common;

use std::path::PathBuf;
use std::time::Instant;

use common::{Shell, run_with_input, stderr, succeed};
use tempfile::TempDir;

fn setup() -> (TempDir, PathBuf) {
    let temporary = TempDir::new().unwrap();
    let file = temporary.path().join("db.shroom");
    (temporary, file)
}

/// Pipes a script through a shell; gives the answers.
fn pipe(file: &std::path::Path, script: &[u8]) -> Vec<String> {
    let output = run_with_input(["shell".as_ref(), file.as_os_str()], script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_line_gets_one_answer() {
    let (_temporary, file) = setup();
    let script =
        b"get 1\nput 1 00ff\nget 1\nputs 2 two words\nget 2\nappend 2 21\nget 2\nput 3\nget 3\n\
        del 3\ndel 3\nls\nls 2..\nls 9..\nstat 9\nflush\n";
    assert_eq!(
        pipe(&file, script),
        [
            "none",
            "ok",
            "ok 00ff",
            "ok",
            "ok 74776f20776f726473",
            "ok",
            "ok 74776f20776f72647321",
            "ok",
            "ok",
            "ok",
            "none",
            "ok 1 2 2 10",
            "ok 2 10",
            "ok",
            "none",
            "ok",
        ]
    );
    let answers = pipe(&file, b"stat\nstat 1\nhelp\nquit\nget 1\n");
    assert_eq!(answers.len(), 4, "nothing after quit: {answers:?}");
    assert!(
        answers[0].starts_with("ok tokens=2 payload=12 "),
        "{}",
        answers[0]
    );
    assert!(
        answers[1].starts_with("ok id=1 length=2 page="),
        "{}",
        answers[1]
    );
    assert!(answers[2].starts_with("ok put ID HEX"));
    assert_eq!(answers[3], "ok");
    assert_eq!(
        succeed(["get".as_ref(), file.as_os_str(), "2".as_ref()]),
        b"two words!"
    );
}

#[test]
fn malformed_lines_are_answered_and_passed_over() {
    let (_temporary, file) = setup();
    let script = b"\nnonsense\nput\nput x\nput 1 0\nput 1 zz\nget\n\xff\xfe\x00\nls 3..1\ncommit\nabort\nput 1 61\r\nget 1";
    let answers = pipe(&file, script);
    assert_eq!(answers.len(), 13);
    assert!(
        answers[..11]
            .iter()
            .all(|answer| answer.starts_with("err ")),
        "{answers:?}"
    );
    assert_eq!(
        answers[11..],
        ["ok", "ok 61"],
        "the last line has no end, and is a line all the same"
    );
}

#[test]
fn a_batch_is_applied_at_its_commit() {
    let (_temporary, file) = setup();
    let script = b"puts 1 old\nputs 2 x\nbegin\nputs 1 new\nappend 1 21\ndel 2\ndel 77\nputs 3 y\nget 1\nget 3\nbegin\ncommit\n\
        get 1\nget 2\nget 3\nbegin\nputs 4 z\nabort\nget 4\nbegin\nputs 5 dropped at the end\n";
    assert_eq!(
        pipe(&file, script),
        [
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok",
            "ok 6f6c64",
            "none",
            "err a batch is open already",
            "ok",
            "ok 6e657721",
            "none",
            "ok 79",
            "ok",
            "ok",
            "ok",
            "none",
            "ok",
            "ok",
        ]
    );
    assert_eq!(pipe(&file, b"ls\n"), ["ok 1 4 3 1"]);
}

#[test]
fn a_peer_that_waits_gets_each_answer_at_once() {
    let (_temporary, file) = setup();
    let mut shell = Shell::start(&file);
    for id in 0..200 {
        assert_eq!(shell.ask(&format!("put {id} {id:04x}")), "ok");
        assert_eq!(shell.ask(&format!("get {id}")), format!("ok {id:04x}"));
    }
    assert_eq!(shell.ask("flush"), "ok");
    // A line and a half: the first is answered though the second is not complete.
    shell.send("get 1\nget");
    assert_eq!(shell.answer(), "ok 0001");
    shell.send(" 2\n");
    assert_eq!(shell.answer(), "ok 0002");
    assert_eq!(shell.ask("quit"), "ok");
    assert!(shell.finish().success());
}

#[test]
fn a_hundred_thousand_piped_lines_are_answered_in_order() {
    let (_temporary, file) = setup();
    let script: String = (0..50_000)
        .map(|id| format!("put {id} {id:08x}\nget {id}\n"))
        .collect();
    let start = Instant::now();
    let answers = pipe(&file, script.as_bytes());
    eprintln!("100,000 lines in {:?}", start.elapsed());
    assert_eq!(answers.len(), 100_000);
    for (id, pair) in answers.chunks(2).enumerate() {
        assert_eq!(pair, ["ok".to_owned(), format!("ok {id:08x}")]);
    }
}

#[test]
fn a_large_token_passes_through() {
    let (_temporary, file) = setup();
    let digits = "5a".repeat(3_000_000);
    let answers = pipe(&file, format!("put 1 {digits}\nget 1\n").as_bytes());
    assert_eq!(answers[0], "ok");
    assert!(answers[1] == format!("ok {digits}"));
}

#[test]
fn whatever_flush_acknowledged_survives_sigkill() {
    let (_temporary, file) = setup();
    let mut id = 0_u64;
    for round in 0..6 {
        let mut shell = Shell::start(&file);
        for _ in 0..40 {
            id += 1;
            assert_eq!(shell.ask(&format!("put {id} {:016x}", id * 7)), "ok");
            assert_eq!(shell.ask(&format!("append {id} ff")), "ok");
            if id.is_multiple_of(3) {
                assert_eq!(shell.ask(&format!("del {}", id - 1)), "ok");
            }
        }
        assert_eq!(shell.ask("begin"), "ok");
        assert_eq!(shell.ask("puts 1000000 never committed"), "ok");
        assert_eq!(shell.ask("flush"), "ok");
        // Not acknowledged: these may be there or not. A write may even be on its way when the signal comes.
        shell.send(&format!(
            "abort\nputs {} {}\n",
            2_000_000 + round,
            "late ".repeat(2000)
        ));
        shell.kill();

        let mut shell = Shell::start(&file);
        let last = id;
        for id in 1..=last {
            let deleted = (id + 1).is_multiple_of(3) && id < last;
            let expected = if deleted {
                "none".to_owned()
            } else {
                format!("ok {:016x}ff", id * 7)
            };
            assert_eq!(
                shell.ask(&format!("get {id}")),
                expected,
                "round {round}, token {id}"
            );
        }
        assert_eq!(shell.ask("get 1000000"), "none");
        assert!(shell.finish().success());
        succeed(["verify".as_ref(), file.as_os_str()]);
    }
}

#[test]
fn sigkill_in_the_midst_of_a_stream_loses_nothing_acknowledged() {
    let (_temporary, file) = setup();
    for (round, answers_before) in [2, 31, 150, 301].into_iter().enumerate() {
        let base = round as u64 * 10_000;
        let mut shell = Shell::start(&file);
        let acknowledged = std::thread::scope(|scope| {
            let mut stdin = shell.take_input();
            let script: String = (base..base + 2000)
                .map(|id| format!("put {id} {id:08x}\nflush\n"))
                .collect();
            // Ends with an error when the shell is killed.
            scope.spawn(move || std::io::Write::write_all(&mut stdin, script.as_bytes()));
            for _ in 0..answers_before {
                assert_eq!(shell.answer(), "ok");
            }
            // What was answered before the signal arrived counts as well.
            answers_before + shell.kill_and_count_answers()
        });
        let mut shell = Shell::start(&file);
        for id in base..base + acknowledged / 2 {
            assert_eq!(
                shell.ask(&format!("get {id}")),
                format!("ok {id:08x}"),
                "round {round}"
            );
        }
        assert!(shell.finish().success());
        succeed(["verify".as_ref(), file.as_os_str()]);
    }
}

#[cfg(unix)]
#[test]
fn signals_flush_and_close() {
    let (_temporary, file) = setup();
    for (id, (name, code)) in [("TERM", 143), ("INT", 130)].into_iter().enumerate() {
        let mut shell = Shell::start(&file);
        assert_eq!(shell.ask(&format!("puts {id} {name}")), "ok");
        assert_eq!(shell.ask("begin"), "ok");
        assert_eq!(shell.ask("puts 9 never committed"), "ok");
        assert_eq!(shell.signal(name).code(), Some(code));
        assert_eq!(
            succeed(["get".as_ref(), file.as_os_str(), id.to_string().as_ref()]),
            name.as_bytes()
        );
    }
    assert_eq!(pipe(&file, b"ls\n"), ["ok 0 4 1 3"]);
    succeed(["verify".as_ref(), file.as_os_str()]);
}

#[test]
fn a_reader_that_goes_away_ends_the_shell_with_everything_kept() {
    let (_temporary, file) = setup();
    let mut child = common::shroom()
        .arg("shell")
        .arg(&file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"puts 1 kept\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(
        succeed(["get".as_ref(), file.as_os_str(), "1".as_ref()]),
        b"kept"
    );
}
