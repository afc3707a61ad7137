//! Replays the fuzzer's seeds, what it found among them, as ordinary tests.

#[path = "../../../fuzz/checks/delta.rs"]
mod delta;
#[path = "../../../fuzz/checks/journal_replay.rs"]
mod journal_replay;
#[path = "../../../fuzz/checks/open_image.rs"]
mod open_image;
#[path = "../../../fuzz/checks/ops_model.rs"]
mod ops_model;
#[path = "../../../fuzz/checks/page_map.rs"]
mod page_map;
#[path = "../../../fuzz/checks/proof.rs"]
mod proof;
#[path = "../../../fuzz/checks/seeds.rs"]
mod seeds;

seeds::replay_tests!(
    delta,
    open_image,
    journal_replay,
    ops_model,
    page_map,
    proof
);

/// Gives a check inputs by chance.
fn at_random(examine: impl Fn(&[u8])) {
    for seed in 0..400 {
        let mut random = shroom_sim::Random(seed);
        let input = random.bytes(8 + (seed % 120) as usize);
        println!("seed {seed}"); // shown when it fails
        examine(&input);
    }
}

/// Most changes to a delta are found by chance.
#[test]
fn random_deltas() {
    at_random(delta::examine);
}

#[test]
fn random_proofs() {
    at_random(proof::examine);
}

/// A target that nobody replays would rot: its check must be a module of some crate's `fuzz_seeds`, and have seeds.
#[test]
fn every_target_is_replayed() {
    let crates = seeds::fuzz().join("../crates");
    let replays: String = std::fs::read_dir(crates)
        .unwrap()
        .filter_map(|entry| {
            let test = entry.unwrap().path().join("tests/fuzz_seeds.rs");
            std::fs::read_to_string(test).ok()
        })
        .collect();
    let targets = seeds::files(&seeds::fuzz().join("fuzz_targets"));
    assert!(targets.len() >= 4, "{targets:?}");
    for target in targets {
        let name = target.file_stem().unwrap().to_str().unwrap();
        assert!(replays.contains(&format!("mod {name};")), "{name}");
        let seeds = seeds::files(&seeds::fuzz().join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
    }
}
