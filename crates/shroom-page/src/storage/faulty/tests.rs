use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Sixteen synced bytes `.`, then unsynced: `aaaa` at 0, `bbbb` at 2, growth to 20, `cccc` at 16.
fn sample() -> FaultyStorage {
    let storage = FaultyStorage::new();
    storage.grow(16).unwrap();
    storage.write_at(0, &[b'.'; 16]).unwrap();
    storage.sync().unwrap();
    storage.write_at(0, b"aaaa").unwrap();
    storage.write_at(2, b"bbbb").unwrap();
    storage.grow(20).unwrap();
    storage.write_at(16, b"cccc").unwrap();
    storage
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace('\0', "0")
}

fn crash(storage: &FaultyStorage, events: usize, plan: CrashPlan) -> String {
    text(&storage.crash_image(events, &plan))
}

fn kind<T: fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn the_log_says_what_was_done() {
    let storage = sample();
    storage.shrink(18).unwrap();
    assert!(storage.punch_hole(0, 2).unwrap());
    let bytes: Arc<[u8]> = Arc::from(&b"cccc"[..]);
    let expected = [
        Event::Grow { len: 20 },
        Event::Write { offset: 16, bytes },
        Event::Shrink { len: 18 },
        Event::PunchHole { offset: 0, len: 2 },
    ];
    assert_eq!(storage.events_from(5), expected);
    assert_eq!((storage.events(), storage.calls()), (9, 9));
    assert_eq!(storage.events_from(99), []);
    assert_eq!(text(&storage.image()), "00bbbb..........cc");
}

#[test]
fn what_changes_nothing_is_no_event() {
    let storage = sample();
    storage.grow(3).unwrap();
    storage.shrink(30).unwrap();
    assert_eq!(
        kind(storage.write_at(19, b"xx")),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(storage.read_at(19, &mut [0; 2])),
        io::ErrorKind::UnexpectedEof
    );
    assert_eq!(kind(storage.view(21)), io::ErrorKind::UnexpectedEof);
    assert_eq!((storage.events(), storage.calls()), (7, 12));
}

#[test]
fn each_past_state_can_be_seen() {
    let storage = sample();
    let states: Vec<_> = (0..=8)
        .map(|events| text(&storage.image_at(events)))
        .collect();
    let expected = [
        "",
        "0000000000000000",
        "................",
        "................",
        "aaaa............",
        "aabbbb..........",
        "aabbbb..........0000",
        "aabbbb..........cccc",
        "aabbbb..........cccc",
    ];
    assert_eq!(states, expected);
    assert_eq!(
        text(&storage.image_at(4)),
        expected[4],
        "also when asked in another order"
    );
}

#[test]
fn a_crash_loses_or_keeps_what_was_not_synced() {
    let storage = sample();
    assert_eq!(
        [2, 3, 5, 7, 99].map(|events| storage.unsynced_changes(events)),
        [2, 0, 2, 4, 4]
    );
    assert_eq!(crash(&storage, 7, CrashPlan::LoseAll), "................");
    assert_eq!(
        crash(&storage, 7, CrashPlan::KeepAll),
        "aabbbb..........cccc"
    );
    assert_eq!(crash(&storage, 5, CrashPlan::KeepAll), "aabbbb..........");
    // Before the first sync nothing is durable.
    assert_eq!(crash(&storage, 2, CrashPlan::LoseAll), "");
    assert_eq!(crash(&storage, 3, CrashPlan::LoseAll), "................");
}

#[test]
fn a_subset_keeps_exactly_its_bits() {
    let storage = sample();
    for (mask, expected) in [
        (0b0000, "................"),
        (0b0001, "aaaa............"),
        (0b0010, "..bbbb.........."),
        (0b0100, "................0000"),
        (0b1000, "................"), // the write lies beyond the length that was kept
        (0b1100, "................cccc"),
        (0b1101, "aaaa............cccc"),
        (0b1111, "aabbbb..........cccc"),
    ] {
        assert_eq!(
            crash(&storage, 7, CrashPlan::Subset(mask)),
            expected,
            "{mask:04b}"
        );
    }
    assert_eq!(
        crash(&storage, 7, CrashPlan::AllBut(0)),
        "..bbbb..........cccc"
    );
    assert_eq!(crash(&storage, 7, CrashPlan::AllBut(2)), "aabbbb..........");
    assert_eq!(
        crash(&storage, 7, CrashPlan::AllBut(4)),
        "aabbbb..........cccc"
    );
}

#[test]
fn a_subset_beyond_64_changes_loses_the_rest() {
    let storage = FaultyStorage::from_image(vec![0; 70]);
    (0..70).for_each(|offset| storage.write_at(offset, &[1]).unwrap());
    let image = storage.crash_image(70, &CrashPlan::Subset(u64::MAX));
    assert_eq!(image, [[1; 64].as_slice(), &[0; 6]].concat());
}

#[test]
fn a_cut_and_a_hole_can_be_lost() {
    let storage = FaultyStorage::from_image(b"0123456789".to_vec());
    storage.punch_hole(2, 3).unwrap();
    storage.shrink(6).unwrap();
    assert_eq!(
        storage.crash_image(2, &CrashPlan::Subset(0b01)),
        b"01\0\0\x0056789"
    );
    assert_eq!(storage.crash_image(2, &CrashPlan::Subset(0b10)), b"012345");
    assert_eq!(storage.crash_image(2, &CrashPlan::LoseAll), b"0123456789");
}

/// All images that some thousand seeds give.
fn random_images(storage: &FaultyStorage, torn: Torn, reordered: bool) -> BTreeSet<Vec<u8>> {
    let plan = |seed| CrashPlan::Random {
        seed,
        torn,
        reordered,
    };
    (0..3_000)
        .map(|seed| storage.crash_image(storage.events(), &plan(seed)))
        .collect()
}

#[test]
fn random_plans_reach_every_subset_and_nothing_else() {
    let storage = sample();
    let subsets: BTreeSet<_> = (0..16)
        .map(|mask| storage.crash_image(7, &CrashPlan::Subset(mask)))
        .collect();
    assert_eq!(random_images(&storage, Torn::None, false), subsets);
}

#[test]
fn reordering_lets_an_older_write_win() {
    let storage = sample();
    let images = random_images(&storage, Torn::None, true);
    let in_order = random_images(&storage, Torn::None, false);
    assert!(in_order.is_subset(&images));
    let texts: BTreeSet<_> = images
        .difference(&in_order)
        .map(|image| text(image))
        .collect();
    assert_eq!(
        texts,
        [
            "aaaabb..........",
            "aaaabb..........0000",
            "aaaabb..........cccc"
        ]
        .map(String::from)
        .into()
    );
}

#[test]
fn torn_writes_lose_whole_sectors() {
    let storage = FaultyStorage::from_image(vec![0; 1_536]);
    storage.write_at(100, &[1; 1_400]).unwrap();
    let images = random_images(&storage, Torn::Sector512, false);
    let expected: BTreeSet<_> = (0..8)
        .map(|mask: u32| {
            let written = |i: &usize| (100..1_500).contains(i) && mask >> (i / 512) & 1 != 0;
            (0..1_536)
                .map(|i| u8::from(written(&i)))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(images, expected);
    assert_eq!(
        random_images(&storage, Torn::Page4096, false).len(),
        2,
        "within one page"
    );
    assert_eq!(random_images(&storage, Torn::None, false).len(), 2);
}

#[test]
fn many_changes_are_also_nearly_all_lost_or_nearly_all_kept() {
    let storage = FaultyStorage::from_image(vec![0; 40]);
    (0..40).for_each(|offset| storage.write_at(offset, &[1]).unwrap());
    let kept: BTreeSet<usize> = random_images(&storage, Torn::None, false)
        .iter()
        .map(|image| image.iter().filter(|&&byte| byte == 1).count())
        .collect();
    assert!(
        kept.first() <= Some(&1) && kept.last() >= Some(&39),
        "{kept:?}"
    );
}

#[test]
fn a_call_fails_once_without_effect() {
    let storage = sample();
    let fail_next = || {
        storage.fail_call(
            storage.calls(),
            Fault::Error(io::ErrorKind::HostUnreachable),
        )
    };
    let events = storage.events();
    let calls: [(&str, &dyn Fn() -> io::Result<()>); 7] = [
        ("read", &|| storage.read_at(0, &mut [0])),
        ("write", &|| storage.write_at(0, b"x")),
        ("sync", &|| storage.sync()),
        ("grow", &|| storage.grow(30)),
        ("shrink", &|| storage.shrink(1)),
        ("punch", &|| storage.punch_hole(0, 1).map(|_| ())),
        ("view", &|| storage.view(1).map(|_| ())),
    ];
    for (name, call) in calls {
        fail_next();
        assert_eq!(kind(call()), io::ErrorKind::HostUnreachable, "{name}");
        assert_eq!(
            (storage.events(), text(&storage.image())),
            (events, "aabbbb..........cccc".into()),
            "{name}"
        );
    }
    assert_eq!(
        storage.unsynced_changes(storage.events()),
        4,
        "the failed sync made nothing durable"
    );
    for (name, call) in calls {
        call().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_fault_waits_for_its_call() {
    let storage = FaultyStorage::from_image(vec![0; 4]);
    storage.fail_call(2, Fault::Error(io::ErrorKind::Other));
    storage.fail_call(9, Fault::Error(io::ErrorKind::Other));
    let outcomes = [0; 5].map(|_| storage.write_at(0, b"x").is_ok());
    assert_eq!(outcomes, [true, true, false, true, true]);
    storage.clear_faults();
    assert!((0..10).all(|_| storage.sync().is_ok()));
    assert_eq!(storage.len().unwrap(), 4);
    assert_eq!(storage.calls(), 16);
}

#[test]
fn faults_met_are_told() {
    let storage = FaultyStorage::from_image(vec![0; 4]);
    let fault = Fault::Error(io::ErrorKind::Other);
    storage.fail_call(1, fault);
    storage.fail_call(7, Fault::ShortWrite);
    storage.sync().unwrap();
    assert_eq!(kind(storage.len().map(|_| ())), io::ErrorKind::Other);
    storage.set_capacity(Some(4));
    storage.grow(5).unwrap_err();
    let injected = Injected {
        call: 1,
        operation: "length",
        fault,
    };
    assert_eq!(storage.injected(), [injected]);
    assert_eq!(storage.refused(), 1);
}

#[test]
fn a_misdirected_write_lands_elsewhere_and_succeeds() {
    let storage = FaultyStorage::from_image(vec![b'.'; 8]);
    storage.fail_call(0, Fault::Misdirected { to: 4 });
    storage.sync().unwrap();
    assert_eq!(storage.injected(), [], "it waits for a write");
    storage.write_at(0, b"ab").unwrap();
    storage.write_at(0, b"cd").unwrap();
    assert_eq!(text(&storage.image()), "cd..ab..");
    storage.fail_call(storage.calls(), Fault::Misdirected { to: 99 });
    storage.write_at(2, b"xyz").unwrap();
    assert_eq!(text(&storage.image()), "cd..axyz");
    assert_eq!(storage.injected().len(), 2);
    assert_eq!(crash(&storage, 2, CrashPlan::Subset(0b01)), "....ab..");
}

#[test]
fn a_crash_may_misdirect_one_unsynced_write() {
    let storage = FaultyStorage::from_image(vec![b'.'; 1_536]);
    storage.write_at(0, &[b'a'; 512]).unwrap();
    storage.write_at(512, &[b'b'; 512]).unwrap();
    let images: BTreeSet<String> = (0..2_000)
        .map(|seed| {
            let image = storage.crash_image(2, &CrashPlan::Misdirected { seed });
            image.chunks(512).map(|sector| sector[0] as char).collect()
        })
        .collect();
    // One lands in any of the three places; the other is lost, or lands where it belongs, before or after.
    let expected = [
        "a..", ".a.", "..a", "ab.", ".b.", ".ba", "b..", ".b.", "..b", "a.b",
    ];
    let expected: BTreeSet<String> = expected.map(String::from).into();
    assert_eq!(images, expected);
}

#[test]
fn an_error_may_follow_the_effect() {
    let storage = FaultyStorage::from_image(vec![b'.'; 4]);
    storage.fail_call(0, Fault::ErrorAfter(io::ErrorKind::TimedOut));
    storage.fail_call(1, Fault::ErrorAfter(io::ErrorKind::TimedOut));
    assert_eq!(kind(storage.write_at(0, b"x")), io::ErrorKind::TimedOut);
    assert_eq!(text(&storage.image()), "x...");
    assert_eq!(kind(storage.sync()), io::ErrorKind::TimedOut);
    assert_eq!(crash(&storage, 2, CrashPlan::LoseAll), "x...");
}

#[test]
fn half_of_a_short_write_lands() {
    let storage = FaultyStorage::from_image(vec![b'.'; 8]);
    storage.fail_call(0, Fault::ShortWrite);
    storage.fail_call(1, Fault::ShortWrite);
    storage.write_at(1, b"abcdef").unwrap_err();
    storage.sync().unwrap_err();
    assert_eq!(text(&storage.image()), ".abc....");
    assert_eq!(storage.events(), 1);
    assert_eq!(crash(&storage, 1, CrashPlan::LoseAll), "........");
}

#[test]
fn a_failed_sync_may_lose_writes_for_good() {
    let storage = sample();
    let before = storage.view(20).unwrap();
    storage.fail_call(storage.calls(), Fault::SyncLoss);
    storage.sync().unwrap_err();
    assert_eq!(
        text(&storage.image()),
        "................0000",
        "the length stays"
    );
    assert_eq!(before.slice(0, 4), Some(&b"aabb"[..]));
    storage.write_at(8, b"dd").unwrap();
    let events = storage.events();
    assert_eq!(
        storage.unsynced_changes(events),
        2,
        "growth, and the new write"
    );
    assert_eq!(
        crash(&storage, events, CrashPlan::KeepAll),
        "........dd......0000"
    );
    assert_eq!(
        crash(&storage, events, CrashPlan::Subset(0b10)),
        "........dd......"
    );
    assert_eq!(
        crash(&storage, 7, CrashPlan::KeepAll),
        "aabbbb..........cccc",
        "a crash before the loss"
    );
    storage.sync().unwrap();
    assert_eq!(
        crash(&storage, events + 1, CrashPlan::LoseAll),
        "........dd......0000"
    );
    assert_eq!(
        [7, 8, 9].map(|events| text(&storage.image_at(events))),
        [
            "aabbbb..........cccc",
            "................0000",
            "........dd......0000"
        ]
    );
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let storage = FaultyStorage::new();
    storage.set_capacity(Some(10));
    storage.grow(10).unwrap();
    assert_eq!(kind(storage.grow(11)), io::ErrorKind::StorageFull);
    storage.grow(5).unwrap();
    storage.write_at(9, b"x").unwrap();
    assert_eq!(storage.len().unwrap(), 10);
    storage.set_capacity(None);
    storage.grow(11).unwrap();
}

#[test]
fn rot_is_in_the_content_and_in_every_later_crash() {
    let storage = sample();
    storage.flip_bit(15, 0);
    storage.flip_bit(15, 4);
    storage.corrupt(0, b"X");
    assert_eq!(text(&storage.image()), "Xabbbb.........?cccc");
    assert_eq!(storage.view(20).unwrap().slice(15, 1), Some(&b"?"[..]));
    assert_eq!(
        storage.unsynced_changes(storage.events()),
        4,
        "rot cannot be lost"
    );
    assert_eq!(crash(&storage, 99, CrashPlan::LoseAll), "X..............?");
    assert_eq!(
        crash(&storage, 99, CrashPlan::KeepAll),
        "Xabbbb.........?cccc"
    );
    for seed in 0..50 {
        let plan = CrashPlan::Random {
            seed,
            torn: Torn::Sector512,
            reordered: false,
        };
        assert_eq!(crash(&storage, 99, plan).as_bytes()[15], b'?');
    }
    assert_eq!(storage.image_at(storage.events()), storage.image());
}

#[test]
fn a_failed_sync_may_forget_what_is_still_read() {
    let storage = FaultyStorage::from_image(vec![b'.'; 4]);
    storage.write_at(0, b"a").unwrap();
    storage.fail_call(storage.calls(), Fault::SyncForgotten);
    storage.sync().unwrap_err();
    assert_eq!(text(&storage.image()), "a...");
    storage.write_at(1, b"b").unwrap();
    storage.sync().unwrap();
    assert_eq!(text(&storage.image()), "ab..");
    assert_eq!(crash(&storage, usize::MAX, CrashPlan::KeepAll), ".b..");
    storage.write_at(0, b"a").unwrap();
    storage.grow(6).unwrap();
    storage.sync().unwrap();
    let expected = "ab..00";
    assert_eq!(text(&storage.image()), expected);
    assert_eq!(crash(&storage, usize::MAX, CrashPlan::LoseAll), expected);
}

#[test]
fn rot_takes_no_number_among_the_changes() {
    let storage = FaultyStorage::from_image(vec![b'.'; 4]);
    storage.corrupt(0, b"X");
    storage.write_at(1, b"a").unwrap();
    storage.write_at(2, b"b").unwrap();
    assert_eq!(crash(&storage, 3, CrashPlan::Subset(0b01)), "Xa..");
    assert_eq!(crash(&storage, 3, CrashPlan::Subset(0b10)), "X.b.");
    assert_eq!(crash(&storage, 3, CrashPlan::AllBut(1)), "Xa..");
}

#[test]
fn clones_share_everything() {
    let storage = FaultyStorage::new();
    let other = storage.clone();
    other.grow(3).unwrap();
    other.fail_call(1, Fault::Error(io::ErrorKind::Other));
    storage.sync().unwrap_err();
    assert_eq!(
        format!("{storage:?}"),
        "FaultyStorage { len: 3, events: 1, calls: 2 }"
    );
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u8, usize),
    Sync,
    SyncLoss,
    Grow(u64),
    Shrink(u64),
    Punch(u64, u64),
    Rot(u64, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..100_000_u64;
    prop_oneof![
        6 => (at.clone(), any::<u8>(), 0..20_000_usize).prop_map(|(offset, byte, len)| Op::Write(offset, byte, len)),
        2 => Just(Op::Sync),
        1 => Just(Op::SyncLoss),
        2 => at.clone().prop_map(Op::Grow),
        1 => at.clone().prop_map(Op::Shrink),
        1 => (at.clone(), 0..9_000_u64).prop_map(|(offset, len)| Op::Punch(offset, len)),
        1 => (at, any::<u8>()).prop_map(|(offset, byte)| Op::Rot(offset, byte)),
    ]
}

/// Runs the operations; those that do not fit fail, which is as good a case as any. Returns the image after each event.
fn run(storage: &FaultyStorage, ops: &[Op]) -> Vec<Vec<u8>> {
    let mut images = vec![storage.image()];
    for op in ops {
        match *op {
            Op::Write(offset, byte, len) => _ = storage.write_at(offset, &vec![byte; len]),
            Op::Sync => storage.sync().unwrap(),
            Op::SyncLoss => {
                storage.fail_call(storage.calls(), Fault::SyncLoss);
                storage.sync().unwrap_err();
            }
            Op::Grow(len) => storage.grow(len).unwrap(),
            Op::Shrink(len) => storage.shrink(len).unwrap(),
            Op::Punch(offset, len) => _ = storage.punch_hole(offset, len),
            Op::Rot(offset, byte) if offset < storage.len().unwrap() => {
                storage.corrupt(offset, &[byte])
            }
            Op::Rot(..) => {}
        }
        if storage.events() == images.len() {
            images.push(storage.image());
        }
    }
    images
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn images_agree_with_history(ops in proptest::collection::vec(op(), 1..60), order in any::<u64>()) {
        let storage = FaultyStorage::from_image(vec![0xEE; 30_000]);
        let images = run(&storage, &ops);
        let count = images.len();
        let log = storage.events_from(0);
        prop_assert_eq!(log.len() + 1, count);
        // Every past state, in a scattered order, so that each way to build one is taken.
        for step in 0..2 * count {
            let events = (order as usize).wrapping_mul(step).wrapping_add(step) % count;
            prop_assert!(storage.image_at(events) == images[events], "image after {}", events);
        }
        for events in 0..count {
            let synced = log[..events].iter().rposition(|event| *event == Event::Sync).map_or(0, |sync| sync + 1);
            prop_assert!(storage.crash_image(events, &CrashPlan::KeepAll) == images[events], "crash after {}", events);
            let rotten = log[synced..events].iter().any(|event| matches!(event, Event::Rot { .. }));
            if !rotten {
                prop_assert!(storage.crash_image(events, &CrashPlan::LoseAll) == images[synced], "loss after {}", events);
            }
        }
    }

    #[test]
    fn a_random_image_is_made_of_old_and_new_bytes(
        ops in proptest::collection::vec(op(), 1..40), seed in any::<u64>(), reordered in any::<bool>(), part in 0..3
    ) {
        let storage = FaultyStorage::from_image(vec![0xEE; 30_000]);
        run(&storage, &ops);
        let torn = [Torn::None, Torn::Sector512, Torn::Page4096][part as usize];
        let plan = CrashPlan::Random { seed, torn, reordered };
        for events in 0..=storage.events() {
            let image = storage.crash_image(events, &plan);
            prop_assert!(image == storage.crash_image(events, &plan), "not deterministic");
            let log = storage.events_from(0);
            let synced = log[..events].iter().rposition(|event| *event == Event::Sync).map_or(0, |sync| sync + 1);
            let durable = storage.image_at(synced);
            let unsynced = &log[synced..events];
            let lengths: Vec<usize> = unsynced.iter().filter_map(|event| match event {
                Event::Grow { len } | Event::Shrink { len } => Some(*len as usize),
                _ => None,
            }).collect();
            prop_assert!(image.len() == durable.len() || lengths.contains(&image.len()));
            for (at, byte) in image.iter().enumerate().step_by(97) {
                let written = unsynced.iter().any(|event| match event {
                    Event::Write { offset, bytes } | Event::Rot { offset, bytes } => {
                        at.checked_sub(*offset as usize).and_then(|at| bytes.get(at)) == Some(byte)
                    }
                    _ => false,
                });
                prop_assert!(written || *byte == 0 || durable.get(at) == Some(byte), "byte {}", at);
            }
        }
    }
}
