//! How full the pages are: after dense inserts in any order, and after random churn in sparse batches.

mod support;

use std::collections::BTreeMap;

use shroom_page::PageSize;
use shroom_token::{Bytes, Edit, TokenId};
use support::{Random, Store};

fn put(bytes: &[u8]) -> Edit<'_> {
    Edit::Put(Bytes::One(bytes))
}

/// Payload over the bytes of storage pages.
fn fill(store: &Store) -> f64 {
    let (_, root) = store.snapshot();
    let page_size = PageSize::DEFAULT.bytes() as f64;
    root.payload() as f64 / (f64::from(store.stats().storage_pages) * page_size)
}

#[test]
fn dense_tokens_in_shuffled_batches_take_17_bytes() {
    let mut random = Random(1);
    let store = Store::new(PageSize::DEFAULT);
    let mut ids: Vec<u64> = (0..200_000).collect();
    random.shuffle(&mut ids);
    for batch in ids.chunks_mut(10_000) {
        batch.sort_unstable();
        store
            .merge(
                batch.iter().map(|id| (TokenId(*id), put(&[7; 16]))),
                usize::MAX,
            )
            .unwrap();
    }
    let report = store.verify();
    assert_eq!(report.tokens, 200_000);
    let bytes = store.stats().storage_pages as usize * PageSize::DEFAULT.bytes();
    let each = bytes as f64 / 200_000.0;
    println!("{each:.2} bytes a token, {} packs", report.packs);
    assert!(each <= 17.0, "{each}");
}

#[test]
fn random_ids_in_batches_take_25_bytes() {
    let mut random = Random(4);
    let store = Store::new(PageSize::DEFAULT);
    for _ in 0..100 {
        let mut ids: Vec<u64> = (0..2_000).map(|_| random.next()).collect();
        ids.sort_unstable();
        store
            .merge(
                ids.iter().map(|id| (TokenId(*id), put(&[7; 16]))),
                usize::MAX,
            )
            .unwrap();
    }
    let report = store.verify();
    assert_eq!(report.tokens, 200_000);
    let bytes = store.stats().storage_pages as usize * PageSize::DEFAULT.bytes();
    let each = bytes as f64 / 200_000.0;
    println!("{each:.2} bytes a token, {} packs", report.packs);
    assert!(each <= 25.0, "{each}");
}

/// Overwrites, and some deletes and inserts, of 8 to 512 bytes.
fn churn(seed: u64, batches: usize, batch_len: u64) -> f64 {
    let mut random = Random(seed);
    let store = Store::new(PageSize::DEFAULT);
    let ids = 30_000;
    let load: Vec<_> = (0..ids)
        .map(|id| {
            let len = random.log_uniform(8, 512);
            (TokenId(id * 3), random.bytes(len))
        })
        .collect();
    store.bulk(load).unwrap();
    println!("loaded: fill {:.4}", fill(&store));
    let mut worst: f64 = 1.0;
    let mut dirty = 0;
    for batch in 0..batches {
        let mut edits = BTreeMap::new();
        for _ in 0..batch_len {
            let id = random.below(ids) * 3;
            let len = random.log_uniform(8, 512);
            match random.below(20) {
                0 => edits.insert(id, None),
                1 => edits.insert(id + 1, Some(random.bytes(len))),
                2 => edits.insert(id + 1, None),
                _ => edits.insert(id, Some(random.bytes(len))),
            };
        }
        let edits = edits
            .iter()
            .map(|(id, bytes)| (TokenId(*id), bytes.as_deref().map_or(Edit::Delete, put)));
        let mut edits = edits.peekable();
        store
            .change(|segments, root| {
                let root = shroom_token::merge(segments, root, &mut edits, usize::MAX);
                dirty += segments.dirty_bytes();
                root
            })
            .unwrap();
        if batch % 40 == 39 {
            worst = worst.min(fill(&store));
        }
        if batch % (batches / 4) == batches / 4 - 1 {
            let report = store.verify();
            println!(
                "batch {batch}: fill {:.4}, worst {worst:.4}, {} packs, {} pages, {:.1} pages dirtied an edit",
                fill(&store),
                report.packs,
                store.stats().storage_pages,
                dirty as f64 / 4096.0 / (batch as f64 + 1.0) / batch_len as f64,
            );
        }
    }
    fill(&store)
}

#[test]
fn sparse_churn_keeps_pages_full() {
    let fill = churn(2, 400, 300);
    assert!(fill >= 0.91, "{fill}");
}

#[test]
fn dense_churn_keeps_pages_full() {
    let fill = churn(3, 60, 6_000);
    assert!(fill >= 0.92, "{fill}");
}
