//! Each example does what it says, and says so twice: over a new file, and over the one that it has left.

use std::path::Path;

macro_rules! example {
    ($name:ident, $path:literal, $again:expr) => {
        #[path = $path]
        #[expect(dead_code, reason = "its `main` is for whoever runs it")]
        mod $name;

        #[test]
        fn $name() {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("example.shroom");
            for _ in 0..if $again { 2 } else { 1 } {
                $name::run(&file).unwrap();
                check(&file);
            }
        }
    };
}

fn check(file: &Path) {
    let db = shroom::Db::open_read_only(file).unwrap();
    assert!(db.verify().unwrap().is_sound());
}

example!(save_slots, "../examples/save_slots.rs", true);
example!(node_state, "../examples/node_state.rs", false);
example!(counters, "../examples/counters.rs", true);
example!(configuration, "../examples/configuration.rs", true);
