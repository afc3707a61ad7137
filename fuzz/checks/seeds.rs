//! Replays a fuzz target's seeds, what it found among them, for ordinary tests on any toolchain.

use std::fs;
use std::path::{Path, PathBuf};

/// Gives every seed of a target to its check. A failure says which one it was.
///
/// # Panics
/// When a seed fails, or there is none.
pub(crate) fn replay(target: &str, examine: impl Fn(&[u8])) {
    let seeds = files(&fuzz().join("seeds").join(target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for seed in seeds {
        println!("{}", seed.display()); // shown when it fails
        examine(&fs::read(&seed).expect("a seed can be read"));
    }
}

/// The files of a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory can be read").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// The directory of the fuzz targets.
pub(crate) fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Makes a test for each target, which replays its seeds by the module of the same name.
macro_rules! replay_tests {
    ($($target:ident),+ $(,)?) => {
        $(
            #[test]
            fn $target() {
                crate::seeds::replay(stringify!($target), $target::examine);
            }
        )+
    };
}
pub(crate) use replay_tests;
