//! Point lookups, scans and merges over an in-memory store of 200,000 tokens of 16 bytes.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use shroom_page::{PageSize, PageStore, Roots, Snapshot};
use shroom_seg::SegmentTxn;
use shroom_token::{Bytes, Edit, TokenId, TokenRoot, bulk_append, get, merge, range};

const TOKENS: u64 = 200_000;

/// A bijection of `u64` that scatters small numbers (the finisher of SplitMix64).
fn scatter(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn load(ids: impl Fn(u64) -> u64) -> (PageStore, Vec<TokenId>) {
    let mut sorted: Vec<TokenId> = (0..TOKENS).map(|number| TokenId(ids(number))).collect();
    sorted.sort_unstable();
    let store = PageStore::in_memory(PageSize::DEFAULT).expect("memory");
    let mut txn = store.begin().expect("a transaction");
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).expect("an empty root");
    let tokens = sorted.iter().map(|id| (*id, [7; 16]));
    let root = bulk_append(&mut segments, &TokenRoot::EMPTY, tokens).expect("sorted tokens");
    let seg = segments.finish().expect("a seg root");
    txn.commit(Roots {
        seg,
        token: root.encode(),
        ..Roots::default()
    })
    .expect("a commit");
    let order = (0..TOKENS)
        .map(|number| sorted[(scatter(number) % TOKENS) as usize])
        .collect();
    (store, order)
}

fn root(snapshot: &Snapshot) -> TokenRoot {
    TokenRoot::decode(&snapshot.roots().token).expect("a sound root")
}

fn benches(criterion: &mut Criterion) {
    for (name, ids) in [
        ("dense", (|number| number) as fn(u64) -> u64),
        ("random", scatter),
    ] {
        let (store, order) = load(ids);
        let snapshot = store.snapshot();
        let root = root(&snapshot);
        let mut order = order.iter().cycle();
        criterion.bench_function(&format!("get/{name}"), |bencher| {
            bencher.iter(|| {
                let id = *order.next().expect("an endless iterator");
                get(&snapshot, &root, black_box(id)).expect("a sound store")
            });
        });
        criterion.bench_function(&format!("range/{name}"), |bencher| {
            let mut tokens = range(&snapshot, &root, ..);
            bencher.iter(|| match tokens.next() {
                Some(item) => Some(item.expect("a sound store")),
                None => {
                    tokens = range(&snapshot, &root, ..);
                    None
                }
            });
        });
    }
    let (store, mut order) = load(scatter);
    let snapshot = store.snapshot();
    order.truncate(10_000);
    order.sort_unstable();
    order.dedup();
    criterion.bench_function("merge/10000 of 200000", |bencher| {
        bencher.iter_batched(
            || store.begin().expect("a transaction"),
            |mut txn| {
                let mut segments =
                    SegmentTxn::open(&mut txn, &snapshot.roots().seg).expect("a sound root");
                let edits = order
                    .iter()
                    .map(|id| (*id, Edit::Put(Bytes::One(&[9; 24]))));
                merge(
                    &mut segments,
                    &root(&snapshot),
                    &mut edits.peekable(),
                    usize::MAX,
                )
                .expect("a sound store")
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(directory, benches);
criterion_main!(directory);
