//! Every call to the storage fails once, in every way: the store goes on unharmed, or is poisoned and sound once reopened.

mod support;

use std::io::ErrorKind;

use shroom_page::PageError;
use shroom_page::storage::faulty::Fault;
use support::{World, check};

const STEPS: u64 = 14;
const SEEDS: u64 = 4;

const FAULTS: [Fault; 6] = [
    Fault::Error(ErrorKind::Other),
    Fault::Error(ErrorKind::StorageFull),
    Fault::ErrorAfter(ErrorKind::Other),
    Fault::ShortWrite,
    Fault::SyncLoss,
    Fault::SyncForgotten,
];

/// Runs with call number `call` failing; false when there is no such call.
fn run(seed: u64, call: u64, fault: Fault) -> bool {
    let mut world = World::new(seed);
    let call = world.storage.calls() + call;
    world.storage.fail_call(call, fault);
    for _ in 0..STEPS {
        if world.step().is_ok() {
            continue;
        }
        if world.store.is_poisoned() {
            assert!(matches!(world.store.begin(), Err(PageError::Poisoned)));
            assert!(world.store.journal_append(b"frame").is_err());
            assert!(world.store.journal_sync(u64::MAX).is_err());
            // Readers go on.
            check(&world.store.snapshot(), world.state());
            world = world.kill();
        } else {
            // As if nothing had happened.
            check(&world.store.snapshot(), world.state());
            world.promise();
        }
        let report = world.store.verify().unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
    let reached = world.storage.calls() > call;
    world.storage.clear_faults();
    world.check_snapshots();
    let report = world.store.verify().unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    let world = world.kill();
    let report = world.store.verify().unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    reached
}

#[test]
fn every_call_may_fail_once() {
    for seed in 0..SEEDS {
        for fault in FAULTS {
            let mut call = 0;
            while run(seed, call, fault) {
                call += 1;
            }
            println!("seed {seed}, {fault:?}: {call} calls");
            assert!(call > 50);
        }
    }
}

#[test]
fn a_full_disk_harms_nothing() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        for round in 0..60 {
            let len = world.storage.image().len() as u64;
            // Room for some pages more, then none, then without limit.
            let capacity = [Some(len + 2048), Some(len), None][round % 3];
            world.storage.set_capacity(capacity);
            if let Err(error) = world.step() {
                assert!(matches!(error, PageError::Full { .. }), "{error}");
                assert!(!world.store.is_poisoned());
            }
            check(&world.store.snapshot(), world.state());
            let report = world.store.verify().unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
        }
        world.kill();
    }
}
