use proptest::prelude::*;
use shroom_page::LogicalPage;

use super::*;

fn new_page(bytes: usize) -> Vec<u8> {
    let mut page = vec![0xEE; bytes];
    init(&mut page);
    page
}

fn sound(page: &[u8]) -> Check {
    let found = check(page);
    assert_eq!(found.faults, [], "a sound page");
    let room = room(page).unwrap();
    assert_eq!(
        (room.used, room.free_bytes, room.largest),
        (found.live.len(), found.free_bytes, found.largest)
    );
    found
}

#[test]
fn a_segment_is_laid_out_as_the_format_says() {
    let mut page = new_page(512);
    assert_eq!(page[..12], [1, 0, 0, 0, 8, 0, 0xF8, 1, 0xF4, 1, 0, 0]);
    assert_eq!(allocate(&mut page, b"abc", None), Ok(Some(8)));
    assert_eq!(
        page[..19],
        [
            1, 0, 1, 0, 15, 0, 0xF1, 1, 3, 0, b'a', b'b', b'c', 0, 0, 0xED, 1, 0, 0
        ]
    );
    let far = SegmentAddr::new(LogicalPage(0x0102_0304), 0x0506);
    assert_eq!(allocate(&mut page, b"de", Some(far)), Ok(Some(15)));
    assert_eq!(page[15..27], [2, 0, b'd', b'e', 1, 0, 4, 3, 2, 1, 6, 5]);
    assert_eq!(
        segment(&page, 15),
        Ok(Segment {
            data: b"de",
            next: Next::Far(far)
        })
    );
    assert_eq!(sound(&page).live, [(8, Next::End), (15, Next::Far(far))]);
}

#[test]
fn freed_neighbours_join_and_an_empty_page_is_as_new() {
    let fresh = new_page(512);
    // Every order of freeing three neighbours.
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut page = fresh.clone();
        let at: Vec<_> = (0..3)
            .map(|i| {
                allocate(&mut page, &[9; 20][..10 + i], None)
                    .unwrap()
                    .unwrap()
            })
            .collect();
        for i in order {
            free(&mut page, at[i]).unwrap();
            sound(&page);
        }
        assert_eq!(page, fresh, "{order:?}");
    }
}

#[test]
fn the_smallest_gap_is_taken_and_a_short_rest_becomes_slack() {
    let mut page = new_page(512);
    let mut place = |data: &[u8]| allocate(&mut page, data, None).unwrap().unwrap();
    let (wide, _, narrow, _) = (
        place(&[1; 40]),
        place(&[2; 8]),
        place(&[3; 20]),
        place(&[4; 8]),
    );
    free(&mut page, wide).unwrap();
    free(&mut page, narrow).unwrap();
    assert_eq!(allocate(&mut page, &[5; 18], None), Ok(Some(narrow)));
    assert_eq!(
        segment(&page, narrow).unwrap().data[16..],
        [5, 5, 0, 0],
        "slack is zero"
    );
    free(&mut page, narrow).unwrap();
    let far = SegmentAddr::new(LogicalPage(1), 8);
    assert_eq!(
        allocate(&mut page, &[6; 12], Some(far)),
        Ok(Some(wide)),
        "a link takes no slack"
    );
    assert_eq!(
        allocate(&mut page, &[6; 14], Some(far)),
        Ok(Some(narrow)),
        "nor needs it here"
    );
    assert_eq!(allocate(&mut page, &[7; 500], None), Ok(None));
    sound(&page);
}

#[test]
fn overwriting_needs_the_same_room() {
    let mut page = new_page(512);
    let at = allocate(&mut page, b"12345678", None).unwrap().unwrap();
    assert_eq!(overwrite(&mut page, at, b"abcde"), Ok(true));
    assert_eq!(segment(&page, at).unwrap().data, b"abcde\0\0\0");
    assert_eq!(overwrite(&mut page, at, b"abcd"), Ok(false));
    assert_eq!(overwrite(&mut page, at, b"abcdefghi"), Ok(false));
    sound(&page);
}

#[test]
fn damage_is_named() {
    let mut page = new_page(512);
    let first = allocate(&mut page, &[1; 10], None).unwrap().unwrap();
    let second = allocate(&mut page, &[2; 10], None).unwrap().unwrap();
    free(&mut page, first).unwrap();
    assert_eq!(free(&mut page, first), PageFault::at(8, Fault::NotLive));
    assert_eq!(
        segment(&page, 4),
        PageFault::at(4, Fault::Outside { limit: 512 })
    );
    assert_eq!(
        segment(&page, 511),
        PageFault::at(511, Fault::Outside { limit: 512 })
    );
    let damage = |at: usize, value: u8| {
        let mut bad = page.clone();
        bad[at] = value;
        check(&bad)
            .faults
            .into_iter()
            .map(|fault| fault.fault)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        damage(0, 2),
        [Fault::NotStorage {
            page_type: 2,
            kind: 0
        }]
    );
    assert_eq!(
        damage(1, 3),
        [Fault::NotStorage {
            page_type: 1,
            kind: 3
        }]
    );
    assert_eq!(
        damage(2, 7),
        [Fault::Used {
            counted: 7,
            found: 1
        }]
    );
    assert!(matches!(damage(6, 1)[..], [Fault::FreeBytes { .. }]));
    assert!(damage(4, 9).contains(&Fault::FreeMisplaced));
    assert_eq!(damage(12, 1), [Fault::FreeNotZero]);
    assert_eq!(
        damage(usize::from(second) + 12, 5),
        [Fault::Link { next: 5 }]
    );
    assert!(matches!(
        damage(usize::from(second) + 1, 9)[..],
        [Fault::Overrun { .. }]
    ));
    // A list that goes back, and two free segments that touch.
    assert!(
        damage(20, 8)
            .iter()
            .any(|fault| matches!(fault, Fault::FreeOrder { .. }))
    );
    assert!(
        damage(20, 22)
            .iter()
            .any(|fault| matches!(fault, Fault::FreeOrder { expected: 26 }))
    );
}

#[derive(Clone, Debug)]
enum Op {
    Allocate(usize, bool),
    Free(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sizes = prop_oneof![4 => 0usize..40, 1 => 40usize..600];
    // A segment with a link is never empty.
    let allocate =
        (sizes, any::<bool>()).prop_map(|(size, link)| Op::Allocate(size.max(link.into()), link));
    prop::collection::vec(
        prop_oneof![3 => allocate, 2 => any::<usize>().prop_map(Op::Free)],
        1..120,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_page_is_a_set_of_segments(shift in 9u32..=12, ops in ops()) {
        let mut page = new_page(1 << shift);
        let mut live: Vec<(u16, Vec<u8>, Option<SegmentAddr>)> = Vec::new();
        for (i, op) in ops.into_iter().enumerate() {
            match op {
                Op::Allocate(size, link) => {
                    let data = vec![i as u8 | 1; size];
                    let far = link.then(|| SegmentAddr::new(LogicalPage(7), i as u16));
                    if let Some(at) = allocate(&mut page, &data, far).unwrap() {
                        live.push((at, data, far));
                    }
                }
                Op::Free(pick) if !live.is_empty() => {
                    let (at, ..) = live.swap_remove(pick % live.len());
                    free(&mut page, at).unwrap();
                }
                Op::Free(_) => {}
            }
            let mut expected: Vec<_> = live.iter().map(|(at, ..)| *at).collect();
            expected.sort_unstable();
            prop_assert_eq!(sound(&page).live.iter().map(|(at, _)| *at).collect::<Vec<_>>(), expected);
            for (at, data, far) in &live {
                let found = segment(&page, *at).unwrap();
                prop_assert_eq!(&found.data[..data.len()], &data[..]);
                prop_assert!(found.data.len() - data.len() < 4 && found.data[data.len()..].iter().all(|&b| b == 0));
                prop_assert_eq!(found.next, far.map_or(Next::End, Next::Far));
            }
        }
    }

    #[test]
    fn no_bytes_panic(mut page in prop::collection::vec(any::<u8>(), 512), at in 0u16..600, size in 0usize..300, flips in prop::collection::vec((0usize..512, any::<u8>()), 0..6), sound in any::<bool>()) {
        if sound {
            init(&mut page);
            for size in [10, 100, 3, 50] {
                allocate(&mut page, &vec![1; size], None).unwrap();
            }
            free(&mut page, 22).unwrap();
        } else {
            page[..2].copy_from_slice(&[1, 0]);
        }
        for (at, value) in flips {
            page[at] = value;
        }
        let _ = (check(&page), room(&page), segment(&page, at), free_bytes(&page));
        let _ = overwrite(&mut page.clone(), at, &vec![7; size]);
        let mut freed = page.clone();
        let _ = (free(&mut freed, at), allocate(&mut freed, &vec![7; size], None), check(&freed));
        let far = Some(SegmentAddr::new(LogicalPage(1), 8));
        let _ = (allocate(&mut page, &vec![7; size], far), free(&mut page, at), check(&page));
    }
}
