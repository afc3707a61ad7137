//! Replays the fuzzer's seeds, what it found among them, as an ordinary test: no panic, and sound files stay sound.

#[path = "../../../fuzz/checks/open_image.rs"]
mod open_image;

#[test]
fn seeds_of_open_image() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/open_image");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let path = seed.unwrap().path();
        println!("{}", path.display());
        open_image::examine_both(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 6, "only {count} seeds");
}
