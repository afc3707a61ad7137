use proptest::prelude::*;
use shroom_page::{PageSize, PageStore, Roots};

use super::*;
use crate::index_walk::IndexWalk;

/// A model of the index: the pages with a class above 0.
type Model = BTreeMap<u32, u8>;

fn lowest(model: &Model, class: u8) -> Option<LogicalPage> {
    model
        .iter()
        .find(|&(_, &found)| found >= class)
        .map(|(&page, _)| LogicalPage(page))
}

/// Finishes an index, commits, checks the stored form against the model, and gives the root.
fn commit(store: &PageStore, index: FreeIndex, mut txn: PageTxn<'_>, model: &Model) -> SegRoot {
    let (height, page, classes) = index.finish(&mut txn).unwrap();
    let root = SegRoot {
        height,
        index: page,
        storage_pages: 0,
        free_bytes: 0,
        classes,
    };
    let root = SegRoot::parse(&root.to_bytes()).unwrap();
    let snapshot = txn.commit(Roots::default()).unwrap();
    let walk = IndexWalk::new(&snapshot, &root).unwrap();
    assert_eq!(walk.findings, []);
    let stored: Model = walk
        .classed()
        .map(|(page, class)| (page as u32, class))
        .collect();
    assert_eq!(&stored, model);
    let allocated = (1..snapshot.logical_pages())
        .filter(|&page| snapshot.is_allocated(LogicalPage(page)).unwrap());
    assert_eq!(
        allocated.count(),
        walk.pages.len(),
        "index pages that are not used are freed"
    );
    let last = model.keys().next_back().map_or(0, |&page| u64::from(page));
    let geometry = Geometry::new(store.page_size());
    match height {
        0 => assert!(last < INLINE_CLASSES as u64),
        1 => assert!(last >= INLINE_CLASSES as u64 && last < geometry.block_pages(0)),
        height => assert!(
            last >= geometry.block_pages(usize::from(height) - 2),
            "the least height that serves"
        ),
    }
    root
}

#[test]
fn the_index_grows_from_inline_to_a_tree_and_back() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let mut root = SegRoot::parse(&[0; 64]).unwrap();
    let mut model = Model::new();
    let steps = [
        (3, 9),
        (39, 1),
        (40, 2),
        (503, 3),
        (504, 200),
        (60_000, 4),
        (6_000_000, 254),
        (u32::MAX - 1, 7),
    ];
    for up in [true, false] {
        let mut steps = steps;
        if !up {
            steps.reverse();
        }
        for (page, class) in steps {
            let txn = store.begin().unwrap();
            let mut index = FreeIndex::open(Geometry::new(store.page_size()), &root);
            let class = if up { class } else { 0 };
            index.set(&txn, LogicalPage(page), class).unwrap();
            model.insert(page, class);
            model.retain(|_, class| *class != 0);
            for class in [1, 2, 5, 254] {
                assert_eq!(index.find(&txn, class).unwrap(), lowest(&model, class));
            }
            root = commit(&store, index, txn, &model);
        }
    }
    assert_eq!(root.height, 0);
}

#[test]
fn an_unchanged_leaf_is_not_written() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let geometry = Geometry::new(store.page_size());
    let mut txn = store.begin().unwrap();
    let mut index = FreeIndex::open(geometry, &SegRoot::parse(&[0; 64]).unwrap());
    index.set(&txn, LogicalPage(100), 5).unwrap();
    index.set(&txn, LogicalPage(1000), 5).unwrap();
    let (height, page, classes) = index.finish(&mut txn).unwrap();
    let root = SegRoot {
        height,
        index: page,
        storage_pages: 0,
        free_bytes: 0,
        classes,
    };
    txn.commit(Roots::default()).unwrap();

    let mut txn = store.begin().unwrap();
    let mut index = FreeIndex::open(geometry, &root);
    for class in [9, 0, 7, 5] {
        index.set(&txn, LogicalPage(100), class).unwrap();
        index
            .set(&txn, LogicalPage(2000), class - class.min(5))
            .unwrap();
    }
    assert_eq!(index.find(&txn, 6).unwrap(), None);
    assert_eq!(index.find(&txn, 5).unwrap(), Some(LogicalPage(100)));
    index.finish(&mut txn).unwrap();
    assert_eq!(txn.dirty_bytes(), 0);
}

#[test]
fn a_lying_maximum_is_an_error() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let geometry = Geometry::new(store.page_size());
    let mut txn = store.begin().unwrap();
    let mut index = FreeIndex::open(geometry, &SegRoot::parse(&[0; 64]).unwrap());
    index.set(&txn, LogicalPage(1000), 5).unwrap();
    let (height, page, classes) = index.finish(&mut txn).unwrap();
    let root = SegRoot {
        height,
        index: page,
        storage_pages: 0,
        free_bytes: 0,
        classes,
    };
    let mut node = Block::parse(txn.page(page).unwrap(), 1, geometry).unwrap();
    node.maxima[1] = 9;
    node.write(txn.page_mut(page).unwrap());
    let mut index = FreeIndex::open(geometry, &root);
    assert!(matches!(index.find(&txn, 6), Err(SegError::Index { .. })));
    assert_eq!(IndexWalk::new(&txn, &root).unwrap().findings.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_index_is_a_map_of_classes(
        shift in 9u8..=11,
        rounds in prop::collection::vec(
            prop::collection::vec((prop_oneof![0u32..60, 0u32..3000, 0u32..300_000], prop_oneof![Just(0u8), 0u8..=254], 1u8..=254), 1..40),
            1..6,
        ),
    ) {
        let store = PageStore::in_memory(PageSize::from_shift(shift).unwrap()).unwrap();
        let mut root = SegRoot::parse(&[0; 64]).unwrap();
        let mut model = Model::new();
        for round in rounds {
            let txn = store.begin().unwrap();
            let mut index = FreeIndex::open(Geometry::new(store.page_size()), &root);
            for (page, class, wanted) in round {
                index.set(&txn, LogicalPage(page), class).unwrap();
                model.insert(page, class);
                model.retain(|_, class| *class != 0);
                for wanted in [wanted, 1] {
                    prop_assert_eq!(index.find(&txn, wanted).unwrap(), lowest(&model, wanted));
                }
            }
            root = commit(&store, index, txn, &model);
        }
    }
}
