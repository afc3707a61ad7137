//! R2 to R4: what a file may say, by where it is.

use std::path::Path;

use super::source;

/// The crates of the engine: what R2 is about. The command line and the tasks may use the file system.
const ENGINE: [&str; 4] = ["shroom-page", "shroom-seg", "shroom-token", "shroom"];

/// The only place in the engine that names the file system.
const STORAGE: &str = "crates/shroom-page/src/storage/";

/// The only file of the engine with `unsafe`.
const MAPPING: &str = "crates/shroom-page/src/storage/mapping.rs";

/// A peer of the benchmarks whose own interface is `unsafe`; nothing that users install has it.
const FOREIGN: &str = "crates/shroom-bench/src/peers/lmdb.rs";

/// The crates whose roots deny `unsafe` rather than forbid it, for the two files above; the rest is up to this check.
const DENYING: [&str; 2] = ["crates/shroom-page/", "crates/shroom-bench/"];

/// Starts of paths that exist on one machine only, in two halves so that this file does not name them.
const MACHINE_PATHS: [(&str, &str); 5] = [
    ("/ho", "me/"),
    ("/Us", "ers/"),
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/tm", "p/"),
];

/// Every violation of a file.
pub(super) fn check(file: &Path, text: &str) -> Vec<String> {
    let mut violations = machine_paths(text);
    if file.extension().is_some_and(|ending| ending == "rs") {
        let code = source::code(text);
        let name = file.to_string_lossy().replace('\\', "/");
        violations.extend(unsafe_code(&name, &code));
        if is_engine(&name) && !name.starts_with(STORAGE) {
            violations.extend(file_system(source::without_tests(&code)));
        }
    }
    violations
        .into_iter()
        .map(|violation| format!("{}: {violation}", file.display()))
        .collect()
}

/// Is it source of the engine, and no test or bench?
fn is_engine(name: &str) -> bool {
    let source = ENGINE
        .iter()
        .any(|krate| name.starts_with(&format!("crates/{krate}/src/")));
    source && !name.ends_with("/tests.rs") && !name.contains("/tests/")
}

/// R2. `fs` counts in any statement that begins `use std`, and after `std::`.
fn file_system(code: &str) -> Vec<String> {
    let mut violations: Vec<_> = source::words(code)
        .filter(|(_, word)| matches!(*word, "memmap2" | "rustix"))
        .map(|(line, word)| format!("{line}: {word} outside the storage module"))
        .collect();
    for (start, _) in code.match_indices("std::") {
        let statement = code[start..].split([';', ')']).next().unwrap_or_default();
        let begins_use = code[..start].trim_end().ends_with("use");
        let names_it = match begins_use {
            true => source::words(statement).any(|(_, word)| word == "fs"),
            false => source::words(statement)
                .nth(1)
                .is_some_and(|(_, word)| word == "fs"),
        };
        if names_it {
            let line = code[..start].matches('\n').count() + 1;
            violations.push(format!("{line}: std::fs outside the storage module"));
        }
    }
    violations
}

/// R3.
fn unsafe_code(name: &str, code: &str) -> Vec<String> {
    let mut violations = Vec::new();
    if name != MAPPING && name != FOREIGN {
        let found = source::words(code).filter(|(_, word)| *word == "unsafe");
        violations.extend(found.map(|(line, _)| format!("{line}: unsafe outside {MAPPING}")));
    }
    let is_crate_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    if is_crate_root
        && !DENYING.iter().any(|krate| name.starts_with(krate))
        && !code.contains("#![forbid(unsafe_code)]")
    {
        violations.push("1: #![forbid(unsafe_code)] is missing".to_owned());
    }
    violations
}

/// R4. A path counts at its start only: `docs/work/x` is none.
fn machine_paths(text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (first, second) in MACHINE_PATHS {
            let prefix = format!("{first}{second}");
            let is_start = |start: usize| {
                !line[..start]
                    .ends_with(|before: char| before.is_alphanumeric() || "._-~*}".contains(before))
            };
            if line
                .match_indices(&prefix)
                .any(|(start, _)| is_start(start))
            {
                violations.push(format!(
                    "{}: names a path of one machine ({prefix}...)",
                    index + 1
                ));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(file: &str, text: &str) -> usize {
        check(Path::new(file), text).len()
    }

    #[test]
    fn the_file_system_is_named_in_the_storage_module_only() {
        for text in [
            "use std::fs;",
            "use std::fs::File;",
            "use std::{\n    io,\n    fs::File,\n};",
            "fn f() { std::fs::read(x) }",
            "use memmap2::Mmap;",
            "fn f() { rustix::fs::fallocate() }",
        ] {
            assert_eq!(count("crates/shroom-seg/src/chain.rs", text), 1, "{text}");
            assert_eq!(count("crates/shroom-page/src/txn.rs", text), 1, "{text}");
            for allowed in [
                "crates/shroom-page/src/storage/file.rs",
                "crates/shroom-cli/src/get.rs",
                "crates/shroom/tests/crash.rs",
            ] {
                assert_eq!(count(allowed, text), 0, "{allowed}: {text}");
            }
        }
        for text in [
            "// std::fs",
            "\"std::fs\";",
            "use std::io;",
            "use std::fmt; struct fs;",
            "#[cfg(test)]\nmod t { use std::fs; }",
        ] {
            assert_eq!(count("crates/shroom-seg/src/chain.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn unsafe_is_in_the_mapping_module_only() {
        assert_eq!(
            count(
                "crates/shroom-seg/src/chain.rs",
                "fn f() { unsafe { g() } }"
            ),
            1
        );
        assert_eq!(count("crates/shroom/benches/b.rs", "unsafe fn f() {}"), 1);
        assert_eq!(count(MAPPING, "fn f() { unsafe { g() } }"), 0);
        assert_eq!(count(FOREIGN, "fn f() { unsafe { g() } }"), 0);
        assert_eq!(
            count(
                "crates/shroom-bench/src/peers/redb.rs",
                "fn f() { unsafe { g() } }"
            ),
            1
        );
        assert_eq!(
            count(
                "crates/shroom-seg/src/chain.rs",
                "// unsafe\n#![forbid(unsafe_code)]"
            ),
            0
        );
        assert_eq!(
            count(
                "crates/shroom-seg/src/lib.rs",
                "//! #![forbid(unsafe_code)]"
            ),
            1
        );
        assert_eq!(
            count("crates/shroom-seg/src/lib.rs", "#![forbid(unsafe_code)]"),
            0
        );
    }

    #[test]
    fn machine_paths_are_found_at_their_start_only() {
        for (first, second) in MACHINE_PATHS {
            assert_eq!(
                count("README.md", &format!("see {first}{second}someone/x")),
                1
            );
            assert_eq!(count("README.md", &format!("see docs{first}{second}x")), 0);
        }
        assert_eq!(count("README.md", "/usr/share/zoneinfo"), 0);
    }
}
