//! `map`, `dump` and `stat --watch`: what they print and draw of sound, damaged, live and foreign files, and that they change nothing.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Shell, fail, json, run, stderr, succeed};
use tempfile::TempDir;

/// A database with small and large values, a snapshot and free pages.
fn sample() -> (TempDir, PathBuf) {
    let temporary = TempDir::new().unwrap();
    let file = temporary.path().join("db <&>.shroom");
    fill(&file, 0);
    succeed([
        Path::new("snapshot"),
        &file,
        Path::new("save"),
        Path::new("m<o>n & \"x\""),
    ]);
    fill(&file, 50);
    (temporary, file)
}

fn fill(file: &Path, from: u32) {
    let mut shell = Shell::start(file);
    for id in from..from + 100 {
        assert_eq!(
            shell.ask(&format!("puts {id} {}", "value ".repeat(id as usize % 40))),
            "ok"
        );
    }
    for id in [1_000, 1_001 + from] {
        assert_eq!(
            shell.ask(&format!("put {id} {}", "ab".repeat(9_000 + from as usize))),
            "ok"
        );
    }
    assert!(shell.finish().success());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_map_is_drawn_and_counted() {
    let (temporary, file) = sample();
    let before = fs::read(&file).unwrap();
    let svg = temporary.path().join("map.svg");
    let html = temporary.path().join("map.html");
    let figures = String::from_utf8(succeed(["map", text(&file), "-o", text(&svg)])).unwrap();
    assert!(
        figures.contains("only in snapshots") && figures.contains("large values"),
        "{figures}"
    );
    succeed(["map", text(&file), "--output", text(&html)]);
    let drawn = fs::read_to_string(&svg).unwrap();
    let page = fs::read_to_string(&html).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("db &lt;&amp;&gt;.shroom"));
    assert!(!page.contains("m<o>n") && page.contains("m&lt;o&gt;n &amp; &quot;x&quot;"));
    let pages = before.len() / 4096;
    assert_eq!(
        page.matches("<g class=\"c\"").count(),
        pages,
        "a cell a page"
    );
    assert!(page.contains("P0, byte 0: superblock") && page.contains("a pack: "));
    assert!(drawn.contains("Each cell is a page"));
    assert_eq!(fs::read(&file).unwrap(), before, "nothing is written");
    succeed(["map", text(&file), "-o", text(&html)]);
    assert_eq!(
        fs::read_to_string(&html).unwrap(),
        page,
        "the same picture again"
    );

    // The counts are those of `stat`.
    let map = json(&succeed(["map", "--json", text(&file)]));
    let stat = json(&succeed(["stat", "--json", text(&file)]));
    for (kind, name) in [
        ("storage", "storage"),
        ("extent", "extent"),
        ("free", "free"),
        ("page_map", "map"),
        ("only_in_snapshots", "snapshots"),
    ] {
        assert_eq!(map["pages"][kind], stat["pages"][name], "{kind}");
    }
    assert_eq!(
        (&map["tokens"], &map["payload_bytes"]),
        (&stat["tokens"], &stat["payload_bytes"])
    );
    assert_eq!(map["findings"], json(b"[]"));
}

#[test]
fn a_large_file_has_several_pages_in_a_cell() {
    let (temporary, file) = sample();
    let html = temporary.path().join("map.html");
    succeed(["map", text(&file), "-o", text(&html), "--cells", "7"]);
    let page = fs::read_to_string(&html).unwrap();
    let pages = fs::metadata(&file).unwrap().len() / 4096;
    let each = pages.div_ceil(7).next_power_of_two();
    assert_eq!(
        page.matches("<g class=\"c\"").count() as u64,
        pages.div_ceil(each)
    );
    assert!(page.contains(&format!("Each cell stands for {each} pages in a row")));
    assert!(page.contains(&format!("P0 to P{}", each - 1)) && page.contains("2 superblock"));
}

#[test]
fn a_picture_is_never_drawn_over_the_database() {
    let (temporary, file) = sample();
    let disguised = temporary.path().join("db.svg");
    fs::copy(&file, &disguised).unwrap();
    assert!(fail(2, ["map", text(&disguised), "-o", text(&disguised)]).contains("database itself"));
    assert_eq!(fs::read(&disguised).unwrap(), fs::read(&file).unwrap());
    assert!(fail(2, ["map", text(&file), "-o", "picture.png"]).contains(".svg or .html"));
    assert!(fail(2, ["map", "absent.shroom"]).contains("absent.shroom"));
}

#[test]
fn damage_is_drawn_and_told() {
    let (temporary, file) = sample();
    let svg = temporary.path().join("map.svg");
    let mut bytes = fs::read(&file).unwrap();
    let map = json(&succeed(["map", "--json", text(&file)]));
    assert_eq!(map["findings"].as_array().unwrap().len(), 0);
    let run_of_values = b"value value value value value ";
    let at = bytes
        .windows(30)
        .rposition(|window| window == run_of_values)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let output = run(["map", text(&file), "-o", text(&svg)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let damaged = at / 4096;
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("damaged: ") && told.contains(&format!("P{damaged}")),
        "{told}"
    );
    let drawn = fs::read_to_string(&svg).unwrap();
    assert!(drawn.contains("Red cross") && drawn.contains("class=\"bad\""));
    let output = run(["dump", text(&file), "page", &damaged.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("damaged: the page is damaged")
    );

    // Cut in the middle, and no database at all.
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let output = run(["map", text(&file), "-o", text(&svg)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("truncated")
    );
    fs::write(&file, vec![7; 100_000]).unwrap();
    for command in [
        &["map", text(&file)][..],
        &["dump", text(&file), "superblock"],
        &["stat", text(&file), "--watch", "--count", "1"],
    ] {
        assert!(
            fail(1, command).contains("not a ShroomDB file"),
            "{command:?}"
        );
    }
}

#[test]
fn a_dump_explains_pages_superblocks_packs_and_the_journal() {
    let (_temporary, file) = sample();
    let before = fs::read(&file).unwrap();
    let text_of = |arguments: &[&str]| {
        let arguments = [&["dump", text(&file)], arguments].concat();
        String::from_utf8(succeed(arguments)).unwrap()
    };
    let superblock = text_of(&["superblock"]);
    assert!(
        superblock.contains("5348524f4f4d4442           magic"),
        "{superblock}"
    );
    assert!(superblock.contains("the state of the file"));
    let pack = text_of(&["pack", "7"]);
    assert!(
        pack.contains("it has token 7") && pack.contains("token 7, 42 bytes: \"value value"),
        "{pack}"
    );
    assert!(text_of(&["pack", "900"]).contains("it does not have token 900"));
    // The same bytes, by the page's two numbers.
    let token = json(&succeed(["stat", "--json", text(&file), "7"]));
    let logical = format!("L{}", token["page"]);
    let page = text_of(&["page", &logical]);
    let place = page.split([',', ' ']).next().unwrap();
    assert_eq!(text_of(&["page", place]), page);
    assert!(page.contains("token 7, 42 bytes: \"value value"), "{page}");
    let documents = json(text_of(&["page", place, "--json"]).as_bytes());
    let number: u64 = place[1..].parse().unwrap();
    assert_eq!(documents[0]["position"], number * 4096);
    let fields = documents[0]["fields"].as_array().unwrap();
    let bytes: String = fields
        .iter()
        .map(|field| field["bytes"].as_str().unwrap())
        .collect();
    let expected: String = before[number as usize * 4096..][..4096]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(bytes, expected, "the fields are the page");
    for page in 0..before.len() / 4096 {
        text_of(&["page", &page.to_string()]);
    }
    assert!(fail(1, ["dump", text(&file), "page", "99999"]).contains("no page 99999"));
    assert!(fail(1, ["dump", text(&file), "page", "L99999"]).contains("no logical page"));
    fail(2, ["dump", text(&file), "page", "X1"]);
    assert!(text_of(&["journal"]).contains("0 frames"));
    assert_eq!(fs::read(&file).unwrap(), before, "nothing is written");

    let mut shell = Shell::start(&file);
    shell.ask("puts 5 spore");
    shell.ask("del 6");
    shell.ask("flush");
    shell.kill();
    let left = fs::read(&file).unwrap();
    let journal = text_of(&["journal"]);
    assert!(
        journal.contains("put token 5, 5 bytes: \"spore\"") && journal.contains("delete token 6"),
        "{journal}"
    );
    assert!(journal.contains("2 frames"));
    assert_eq!(
        json(text_of(&["journal", "--json"]).as_bytes())
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(fs::read(&file).unwrap(), left, "nothing is replayed");
}

/// A writer has the file; `stat` cannot open it, `stat --watch` looks all the same, and keeps nobody from anything.
#[test]
fn a_watch_sees_a_file_that_is_being_written() {
    let temporary = TempDir::new().unwrap();
    let file = temporary.path().join("db.shroom");
    let mut shell = Shell::start(&file);
    shell.ask("puts 1 one");
    shell.ask("puts 2 two");
    assert_eq!(shell.ask("flush"), "ok");
    for arguments in [
        &["stat", text(&file)][..],
        &["map", text(&file)],
        &["dump", text(&file), "superblock"],
    ] {
        assert!(fail(2, arguments).contains("locked"), "{arguments:?}");
    }
    let watch = |count: &str| {
        succeed([
            "stat",
            text(&file),
            "--watch",
            "0.01",
            "--count",
            count,
            "--json",
        ])
    };
    let first = json(&watch("1"));
    assert_eq!(
        (&first["commits"], &first["tokens"]),
        (&2.into(), &0.into())
    );
    assert_eq!(shell.ask("puts 3 three"), "ok");
    assert_eq!(shell.ask("flush"), "ok");
    let lines = String::from_utf8(watch("3")).unwrap();
    let lines: Vec<_> = lines.lines().map(|line| json(line.as_bytes())).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["commits"] == 3));
    assert!(shell.finish().success());
    let last = json(&watch("1"));
    let stat = json(&succeed(["stat", "--json", text(&file)]));
    for figure in [
        "tokens",
        "payload_bytes",
        "checkpoint",
        "file_bytes",
        "page_size",
        "snapshots",
        "tag",
        "journal_bytes",
    ] {
        assert_eq!(last[figure], stat[figure], "{figure}");
    }
    assert_eq!(last["free_pages"], stat["pages"]["free"]);
    let table = String::from_utf8(succeed([
        "stat",
        text(&file),
        "--watch",
        "0.01",
        "--count",
        "2",
    ]))
    .unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("checkpoint") && table.contains("commits"));
    fail(2, ["stat", text(&file), "5", "--watch"]);
    fail(2, ["stat", text(&file), "--watch", "0"]);
}
