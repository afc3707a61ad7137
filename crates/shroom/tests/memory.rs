//! Every operation of a small store in memory, at a size that an interpreter can run: `cargo xtask miri` does.

use shroom::{Db, Options};
use shroom_sim::{Change, Model, Op, assert_sound, run};

/// Short and long values, some with extents, some appended to and some deleted; with checkpoints between them.
fn operations() -> Vec<Op> {
    let value = |id: u64| vec![id as u8; [0, 3, 40, 130, 700, 1600][(id % 6) as usize]];
    let mut operations: Vec<Op> = (0..18).map(|id| Op::Put(id * 5, value(id))).collect();
    operations.push(Op::Checkpoint);
    operations.push(Op::Batch(
        vec![
            Change::Append(20, vec![1; 50]),
            Change::Append(25, vec![2; 600]),
            Change::Delete(30),
            Change::Put(u64::MAX, vec![3]),
            Change::Tag(7),
        ],
        true,
    ));
    operations.push(Op::Delete(0));
    operations.push(Op::Checkpoint);
    let loaded = (100..140).chain(200..204);
    operations.push(Op::Bulk(loaded.map(|id| (id, value(id))).collect()));
    operations.extend((0..18).step_by(3).map(|id| Op::Delete(id * 5)));
    operations.push(Op::Append(110, vec![4; 10]));
    operations.push(Op::Flush);
    operations
}

#[test]
fn every_operation_in_memory() {
    for background in [false, true] {
        let storage = std::sync::Arc::new(shroom::storage::MemoryStorage::new());
        let options = Options::new().page_size(512).background(background);
        let db = options.open_storage(storage.clone()).unwrap();
        let mut model = Model::default();
        let mut held = Vec::new();
        for op in operations() {
            run(&db, &op).unwrap();
            model.apply(&op);
            if matches!(op, Op::Checkpoint | Op::Bulk(_)) {
                held.push((db.snapshot(), model.clone()));
            }
        }
        for (snapshot, model) in held {
            let found = snapshot.iter().map(Result::unwrap);
            assert!(
                found
                    .map(|(id, value)| (id, value.to_vec()))
                    .eq(model.tokens)
            );
        }
        assert!(Model::read(&db).unwrap() == model);
        assert_sound(&db);
        db.close().unwrap();
        let db = options.open_storage(storage).unwrap();
        assert!(Model::read(&db).unwrap() == model);
        let backward = db.keys(..).rev().map(Result::unwrap);
        assert!(backward.eq(model.tokens.into_keys().rev()));
    }
}

/// Reads beside a writer: few, but each is interpreted.
#[test]
fn threads_in_memory() {
    let db = Db::in_memory().unwrap();
    db.put(1, &[0; 8]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                for _ in 0..20 {
                    let value = db.get(1).unwrap().unwrap();
                    assert!(value[..].iter().all(|byte| *byte == value[0]));
                    assert!(value[0] >= newest);
                    newest = value[0];
                }
            });
        }
        for stamp in 1..20_u8 {
            db.put(1, &[stamp; 8]).unwrap();
            if stamp % 7 == 0 {
                db.checkpoint().unwrap();
            }
        }
    });
}
