//! Crashes at every event: random work on a store whose storage loses, keeps, tears and reorders what was not synced.
//!
//! After each crash the store opens, holds a state that was committed, no older than the last commit that was
//! acknowledged, is sound, and its journal continues that state and reaches every synced frame. Then the work goes on from the
//! image, and crashes again.

mod support;

use std::sync::Arc;

use shroom_page::PageStore;
use shroom_page::storage::faulty::{CrashPlan, FaultyStorage, Torn};
use support::{Random, World, check, check_frames, stamp_of};

/// Lives of a file: each begins with an image that a crash of the one before left.
const LIVES: u64 = 4;
const SEEDS: u64 = 48;

fn plans(random: &mut Random) -> Vec<CrashPlan> {
    let torn = [Torn::None, Torn::Sector512, Torn::Page4096];
    let mut plans = vec![CrashPlan::LoseAll, CrashPlan::KeepAll];
    plans.push(CrashPlan::Subset(random.next()));
    for reordered in [false, true] {
        plans.push(CrashPlan::Random {
            seed: random.next(),
            torn: torn[random.below(3) as usize],
            reordered,
        });
    }
    plans
}

/// Opens an image as a crash after `events` events left it, and checks what was promised by then.
fn reopen(world: &World, events: usize, plan: &CrashPlan) -> (FaultyStorage, PageStore, u64) {
    let storage = FaultyStorage::from_image(world.storage.crash_image(events, plan));
    let promised = world.promised(events);
    let store = PageStore::open(Arc::new(storage.clone())).unwrap();
    let stamp = stamp_of(store.snapshot().roots());
    assert!(stamp >= promised.stamp, "{stamp}, promised {promised:?}");
    let state = &world.states[&stamp];
    check(&store.snapshot(), state);
    let report = store.verify().unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    check_frames(&store, state, &world.frames, promised.synced);
    (storage, store, stamp)
}

fn live(mut world: World, steps: u64) -> World {
    for _ in 0..steps {
        if world.random.below(16) == 0 {
            // Killed in the middle of something, perhaps.
            let call = world.storage.calls() + world.random.below(12);
            let kind = std::io::ErrorKind::Other;
            world
                .storage
                .fail_call(call, shroom_page::storage::faulty::Fault::Error(kind));
            for _ in 0..4 {
                if world.step().is_err() {
                    break;
                }
            }
            world = world.kill();
        } else {
            world.step().unwrap();
        }
    }
    world
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for life in 0..LIVES {
        world = live(world, 12);
        let mut random = Random(seed ^ life << 40);
        let events = world.storage.events();
        // The first events made the store: an interrupted creation is another matter.
        let first = world.promises[0].events;
        for events in first..=events {
            for plan in plans(&mut random) {
                reopen(&world, events, &plan);
            }
        }
        let events = first + random.below((events - first + 1) as u64) as usize;
        let plans = plans(&mut random);
        let plan = &plans[random.below(plans.len() as u64) as usize];
        let (storage, store, stamp) = reopen(&world, events, plan);
        // What the crash cut off must never come back.
        let mut frames = world.frames.clone();
        frames.retain(|&sequence, _| sequence <= store.journal_mark().sequence);
        let states = world.states.clone();
        world = World::with(storage, store, random.next(), states, stamp);
        world.frames = frames;
    }
}

#[test]
fn a_crash_loses_nothing_that_was_promised() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        run(seed);
    }
}
