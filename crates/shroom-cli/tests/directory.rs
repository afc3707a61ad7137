//! `import` and `export`: round trips, what is refused, and what a failure leaves behind.

#![cfg(unix)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{fail, json, run, shroom, stderr, succeed};
use tempfile::TempDir;

/// A directory with everything an import may meet. Returns its path below `base`.
fn sample(base: &Path) -> PathBuf {
    let root = base.join("in");
    fs::create_dir_all(root.join("b/deep/er")).unwrap();
    fs::create_dir_all(root.join("empty/nested")).unwrap();
    fs::write(root.join("a.txt"), b"first").unwrap();
    fs::write(root.join("b/zero"), b"").unwrap();
    fs::write(root.join("b/deep/er/x"), vec![7; 300_000]).unwrap();
    fs::write(root.join("b.txt"), b"sorted before b/, after b").unwrap();
    fs::write(
        root.join(OsStr::from_bytes(b"odd \xff\xfe\tname\n")),
        b"odd",
    )
    .unwrap();
    fs::write(root.join("ünïcode \u{1f344}"), b"spore").unwrap();
    fs::write(root.join("run.sh"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a.txt", root.join("link")).unwrap();
    symlink("../a.txt", root.join("b/up")).unwrap();
    symlink("up", root.join("b/again")).unwrap();
    symlink("b/deep", root.join("short")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs::write(base.join("outside"), b"from outside").unwrap();
    symlink(base.join("outside"), root.join("absolute")).unwrap();
    symlink("../outside", root.join("escaping")).unwrap();
    root
}

/// Every path below a directory with what it is and what it reads as.
fn listing(root: &Path) -> Vec<(PathBuf, String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for child in fs::read_dir(&directory).unwrap() {
            let path = child.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.push((relative, "directory".to_owned(), Vec::new()));
                waiting.push(path);
            } else {
                let target =
                    fs::read_link(&path).map(|target| format!("link to {}", target.display()));
                let executable = metadata.permissions().mode() & 0o100 != 0;
                let kind = target.unwrap_or(format!("file, executable: {executable}"));
                found.push((relative, kind, fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found.sort();
    found
}

struct Setup {
    temporary: TempDir,
    input: PathBuf,
    file: PathBuf,
    output: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        let base = temporary.path();
        Self {
            input: sample(base),
            file: base.join("db.shroom"),
            output: base.join("out"),
            temporary,
        }
    }

    fn import(&self) -> Vec<u8> {
        succeed([
            OsStr::new("import"),
            OsStr::new("--json"),
            self.file.as_os_str(),
            self.input.as_os_str(),
        ])
    }

    fn export(&self) -> Vec<u8> {
        succeed([
            OsStr::new("export"),
            OsStr::new("--json"),
            self.file.as_os_str(),
            self.output.as_os_str(),
        ])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }
}

/// A database whose token 0 is `manifest`, and whose tokens 1.. are `contents`.
fn hostile(file: &Path, manifest: &[u8], contents: &[&[u8]]) {
    let mut script = Vec::new();
    for (id, bytes) in std::iter::once(&manifest).chain(contents).enumerate() {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        script.extend(format!("put {id} {digits}\n").into_bytes());
    }
    let output = common::run_with_input([OsStr::new("shell"), file.as_os_str()], &script);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A file over the size up to which files are loaded together, between smaller ones, and a link to it.
#[test]
fn large_files_come_back_too() {
    let temporary = TempDir::new().unwrap();
    let input = temporary.path().join("in");
    fs::create_dir(&input).unwrap();
    let large: Vec<u8> = (0..9_500_000_u32)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect();
    fs::write(input.join("a"), b"before").unwrap();
    fs::write(input.join("large"), &large).unwrap();
    symlink("large", input.join("link")).unwrap();
    fs::write(input.join("z"), vec![1; 100_000]).unwrap();
    let files = ["one", "two"].map(|name| temporary.path().join(name));
    for file in &files {
        let printed = succeed(
            ["import", "--json"]
                .map(Path::new)
                .into_iter()
                .chain([file.as_path(), input.as_path()]),
        );
        let printed = json(&printed);
        assert_eq!(printed["files"], 4);
        assert_eq!(printed["payload_bytes"], 2 * large.len() as u64 + 100_006);
    }
    let [one, two] = &files;
    assert!(
        fs::read(one).unwrap() == fs::read(two).unwrap(),
        "the same bytes each time"
    );
    succeed([Path::new("verify"), one]);
    let output = temporary.path().join("out");
    succeed([Path::new("export"), one, &output]);
    assert!(listing(&input) == listing(&output));
}

#[test]
fn a_round_trip_gives_the_same_directory() {
    let setup = Setup::new();
    let report = json(&setup.import());
    assert_eq!(report["files"], 12);
    assert_eq!(
        report["file_bytes"],
        fs::metadata(&setup.file).unwrap().len()
    );
    let leftovers = fs::read_dir(setup.temporary.path()).unwrap().count();
    assert_eq!(
        leftovers, 3,
        "in, outside and the database: no temporary file"
    );

    let report = json(&setup.export());
    assert_eq!(report["files"], 9);
    let mut expected = listing(&setup.input);
    for (path, kind, _) in &mut expected {
        // Links that lead out of the directory become files with the same bytes.
        if path == Path::new("absolute") || path == Path::new("escaping") {
            *kind = "file, executable: false".to_owned();
        }
    }
    assert_eq!(listing(&setup.output), expected);
    succeed([OsStr::new("verify"), setup.file.as_os_str()]);
}

#[test]
fn ids_follow_the_byte_order_of_paths_and_the_manifest_names_them() {
    let setup = Setup::new();
    setup.import();
    let get = |id: &str| succeed([OsStr::new("get"), setup.file.as_os_str(), OsStr::new(id)]);
    let manifest = String::from_utf8(get("0")).unwrap();
    let lines: Vec<&str> = manifest.lines().collect();
    assert_eq!(lines[0], "shroom manifest 1");
    assert_eq!(lines[1], "f\ta.txt");
    assert_eq!(lines[2], "f\tabsolute");
    assert_eq!(lines[3], "f\tb.txt");
    assert_eq!(lines[4], "l\tb/again\tup");
    assert_eq!(lines[5], "f\tb/deep/er/x");
    assert!(lines.contains(&"f\todd \\xff\\xfe\\x09name\\x0a"));
    assert!(lines.contains(&"x\trun.sh"));
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "s\tdangling\tnowhere",
            "d\tempty/nested",
            "s\tshort\tb/deep"
        ]
    );
    assert_eq!(get("1"), b"first");
    assert_eq!(get("2"), b"from outside");
    assert_eq!(get("4"), b"first");
    assert_eq!(get("5"), vec![7; 300_000]);
}

#[test]
fn the_same_directory_gives_the_same_file() {
    let setup = Setup::new();
    setup.import();
    let first = fs::read(&setup.file).unwrap();
    fs::remove_file(&setup.file).unwrap();
    setup.import();
    assert!(first == fs::read(&setup.file).unwrap());
}

#[test]
fn an_existing_database_is_replaced_only_by_force() {
    let setup = Setup::new();
    hostile(&setup.file, b"mine", &[]);
    let import = [
        "import".as_ref(),
        setup.file.as_os_str(),
        setup.input.as_os_str(),
    ];
    let message = fail(2, import);
    assert!(message.contains("--force"), "{message}");
    assert_eq!(
        succeed([OsStr::new("get"), setup.file.as_os_str(), OsStr::new("0")]),
        b"mine"
    );
    succeed(import.into_iter().chain(["--force".as_ref()]));
    assert!(
        succeed([OsStr::new("get"), setup.file.as_os_str(), OsStr::new("0")])
            .starts_with(b"shroom manifest 1\n")
    );

    let text = setup.path("outside");
    fail(
        1,
        [
            "import".as_ref(),
            "--force".as_ref(),
            text.as_os_str(),
            setup.input.as_os_str(),
        ],
    );
    assert_eq!(fs::read(text).unwrap(), b"from outside");
}

#[test]
fn an_empty_database_and_a_file_inside_the_directory_are_welcome() {
    let setup = Setup::new();
    let inside = setup.input.join("inside.shroom");
    let output = common::run_with_input([OsStr::new("shell"), inside.as_os_str()], b"");
    assert!(output.status.success());
    let output = run([
        "import".as_ref(),
        "--json".as_ref(),
        inside.as_os_str(),
        setup.input.as_os_str(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("inside.shroom"),
        "{}",
        stderr(&output)
    );
    assert_eq!(json(&output.stdout)["files"], 12);
    assert_eq!(json(&output.stdout)["skipped"], 1);
}

#[test]
fn a_failed_import_leaves_nothing() {
    let setup = Setup::new();
    fail(
        2,
        [
            "import".as_ref(),
            setup.file.as_os_str(),
            setup.path("absent").as_os_str(),
        ],
    );
    fail(
        2,
        [
            "import".as_ref(),
            setup.file.as_os_str(),
            setup.path("outside").as_os_str(),
        ],
    );
    fail(
        2,
        [
            "import".as_ref(),
            setup.path("no/such/db").as_os_str(),
            setup.input.as_os_str(),
        ],
    );
    fail(
        2,
        [
            "import",
            "--page-size",
            "1000",
            setup.file.to_str().unwrap(),
            setup.input.to_str().unwrap(),
        ],
    );
    assert!(!setup.file.exists());
    assert_eq!(fs::read_dir(setup.temporary.path()).unwrap().count(), 2);
}

#[test]
fn an_export_refuses_a_directory_in_use() {
    let setup = Setup::new();
    setup.import();
    fs::create_dir(&setup.output).unwrap();
    fs::write(setup.output.join("mine"), b"mine").unwrap();
    let export = [
        "export".as_ref(),
        setup.file.as_os_str(),
        setup.output.as_os_str(),
    ];
    assert!(fail(2, export).contains("--force"));
    assert_eq!(listing(&setup.output).len(), 1);
    succeed(export.into_iter().chain(["--force".as_ref()]));
    assert_eq!(fs::read(setup.output.join("mine")).unwrap(), b"mine");
    // Once more over what it wrote itself.
    succeed(export.into_iter().chain(["--force".as_ref()]));
    assert_eq!(fs::read(setup.output.join("b/up")).unwrap(), b"first");
}

#[test]
fn paths_that_lead_out_of_the_directory_are_refused() {
    let setup = Setup::new();
    let paths = [
        "../escaped",
        "/escaped",
        "a/../../escaped",
        "a/./b",
        "a//b",
        "\\x2e\\x2e/escaped",
        "..",
    ];
    for (index, path) in paths.into_iter().enumerate() {
        let file = setup.path(&format!("{index}.shroom"));
        hostile(
            &file,
            format!("shroom manifest 1\nf\t{path}\n").as_bytes(),
            &[b"evil"],
        );
        let message = fail(
            1,
            [
                "export".as_ref(),
                file.as_os_str(),
                setup.output.as_os_str(),
            ],
        );
        assert!(message.contains("refused"), "{path}: {message}");
        assert!(
            !setup.output.exists() && !setup.path("escaped").exists(),
            "{path}"
        );
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let setup = Setup::new();
    let target = setup.path("target");
    fs::create_dir(&target).unwrap();
    fs::create_dir(&setup.output).unwrap();
    symlink(&target, setup.output.join("d")).unwrap();
    symlink(setup.path("outside"), setup.output.join("f")).unwrap();
    let export = |file: &Path| {
        run([
            "export".as_ref(),
            "--force".as_ref(),
            file.as_os_str(),
            setup.output.as_os_str(),
        ])
    };

    let file = setup.path("through.shroom");
    hostile(&file, b"shroom manifest 1\nf\td/evil\n", &[b"evil"]);
    let output = export(&file);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);

    let file = setup.path("over.shroom");
    hostile(&file, b"shroom manifest 1\nf\tf\n", &[b"evil"]);
    assert_eq!(export(&file).status.code(), Some(0));
    assert_eq!(fs::read(setup.path("outside")).unwrap(), b"from outside");
    assert_eq!(fs::read(setup.output.join("f")).unwrap(), b"evil");
}

#[test]
fn links_in_a_manifest_cannot_redirect_files() {
    let setup = Setup::new();
    let target = setup.path("target");
    fs::create_dir(&target).unwrap();
    let export = |file: &Path| {
        fail(
            2,
            [
                "export".as_ref(),
                file.as_os_str(),
                setup.output.as_os_str(),
            ],
        )
    };

    let escaping = setup.path("escaping.shroom");
    hostile(
        &escaping,
        b"shroom manifest 1\nf\td/evil\ns\tl\t../target\n",
        &[b"evil"],
    );
    assert!(export(&escaping).contains("--skip-links"));
    assert!(!setup.output.exists());
    succeed([
        "export".as_ref(),
        "--skip-links".as_ref(),
        escaping.as_os_str(),
        setup.output.as_os_str(),
    ]);
    assert_eq!(listing(&setup.output).len(), 2);
    fs::remove_dir_all(&setup.output).unwrap();

    // A file below a link of the same manifest: the file's directory is made first, so the link cannot be.
    let below = setup.path("below.shroom");
    hostile(
        &below,
        b"shroom manifest 1\nf\td/evil\ns\td\t.\n",
        &[b"evil"],
    );
    export(&below);
    fs::remove_dir_all(&setup.output).unwrap();

    // Two links, each harmless by name, that lead out together.
    let chained = setup.path("chained.shroom");
    hostile(
        &chained,
        b"shroom manifest 1\nf\tp/q/x\ns\tp/q/d\t../../z\ns\tp/q/e\td/../../target\nd\tz\n",
        &[b""],
    );
    assert!(export(&chained).contains("leads out"));
    assert!(!setup.output.join("p/q/e").exists());
}

#[test]
fn a_link_that_leads_to_other_bytes_becomes_a_file() {
    let setup = Setup::new();
    let file = setup.path("lying.shroom");
    let manifest = b"shroom manifest 1\nf\ta\nl\tb\ta\nl\tc\t../outside\nl\td\tmissing\n";
    hostile(&file, manifest, &[b"a", b"not a", b"c", b"d"]);
    succeed([
        "export".as_ref(),
        file.as_os_str(),
        setup.output.as_os_str(),
    ]);
    let found: Vec<_> = listing(&setup.output)
        .into_iter()
        .map(|(_, kind, bytes)| (kind, bytes))
        .collect();
    let plain = |bytes: &[u8]| ("file, executable: false".to_owned(), bytes.to_vec());
    assert_eq!(
        found,
        [plain(b"a"), plain(b"not a"), plain(b"c"), plain(b"d")]
    );
}

#[test]
fn a_database_without_a_usable_manifest_is_not_exported() {
    let setup = Setup::new();
    for (manifest, contents) in [
        (&b"no manifest"[..], &[][..]),
        (b"shroom manifest 9\n", &[]),
        (b"shroom manifest 1\nf\ta\nf\tb\n", &[&b"only one"[..]]),
        (b"shroom manifest 1\nf\ta\nf\ta\n", &[b"one", b"two"]),
    ] {
        let file = setup.path("bad.shroom");
        hostile(&file, manifest, contents);
        fail(
            1,
            [
                "export".as_ref(),
                file.as_os_str(),
                setup.output.as_os_str(),
            ],
        );
        fs::remove_file(file).unwrap();
    }
    let file = setup.path("none.shroom");
    succeed([
        "put".as_ref(),
        file.as_os_str(),
        "5".as_ref(),
        setup.path("outside").as_os_str(),
    ]);
    assert!(
        fail(
            1,
            [
                "export".as_ref(),
                file.as_os_str(),
                setup.output.as_os_str()
            ]
        )
        .contains("manifest")
    );
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let setup = Setup::new();
    // A directory large enough that the signal arrives while it is read.
    for index in 0..20_000 {
        fs::write(setup.input.join(format!("n{index}")), index.to_string()).unwrap();
    }
    let mut child = shroom()
        .arg("import")
        .args([&setup.file, &setup.input])
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let status = child.wait().unwrap();
    match status.code() {
        Some(130) => assert!(!setup.file.exists()),
        // The import was faster than the signal.
        code => assert_eq!(code, Some(0)),
    }
    let hidden = fs::read_dir(setup.temporary.path()).unwrap();
    assert!(
        hidden
            .flatten()
            .all(|child| !child.file_name().as_bytes().starts_with(b"."))
    );
}
