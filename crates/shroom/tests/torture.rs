//! Simulated worlds of fixed seeds: `cargo xtask torture` runs many more. See `shroom_sim::torture` for what is judged.

use std::collections::HashSet;

use shroom_sim::torture::{Honest, Script, Tally, run};

#[test]
fn worlds_of_fixed_seeds() {
    let mut tally = Tally::default();
    let mut images = HashSet::new();
    for seed in 1000..1060 {
        let report = run(&Script::new(seed), &Honest);
        if let Some(failure) = report.failure {
            panic!(
                "seed {seed}: {failure}\nto shrink: cargo xtask torture --seed {seed} --worlds 1"
            );
        }
        tally.merge(&report.tally);
        images.extend(report.images);
    }
    println!("{} distinct crash images\n{tally}", images.len());
    assert!(tally.count("crash images opened") > 5_000);
    assert!(tally.count("bits turned in images") > 500);
    assert!(tally.faults() > 50);
}
