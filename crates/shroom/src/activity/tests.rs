use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shroom_page::storage::MemoryStorage;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::Options;

/// Notes the names of spans as they are entered, and the messages of events with the span that they are in.
#[derive(Clone, Debug, Default)]
struct Listener(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    spans: Mutex<Vec<&'static str>>,
    entered: Mutex<Vec<u64>>,
    lines: Mutex<Vec<String>>,
    opened: AtomicU64,
}

impl Listener {
    fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }

    fn hears(&self, line: &str) -> bool {
        self.lines().iter().any(|heard| heard == line)
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("shroom")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.0.spans.lock().unwrap().push(span.metadata().name());
        Id::from_u64(self.0.opened.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let spans = self.0.spans.lock().unwrap();
        let entered = self.0.entered.lock().unwrap();
        let path = entered.iter().map(|&id| spans[id as usize - 1]);
        let path: Vec<&str> = path.chain([&message.0[..]]).collect();
        self.0.lines.lock().unwrap().push(path.join(": "));
    }

    fn enter(&self, span: &Id) {
        self.0.entered.lock().unwrap().push(span.into_u64());
        let spans = self.0.spans.lock().unwrap();
        let entered = spans[span.into_u64() as usize - 1];
        self.0.lines.lock().unwrap().push(format!("> {entered}"));
    }

    fn exit(&self, span: &Id) {
        let mut entered = self.0.entered.lock().unwrap();
        entered.retain(|&id| id != span.into_u64());
    }
}

/// Everything on this thread.
fn options() -> Options {
    Options::new().background(false)
}

#[test]
fn spans_are_seen_at_each_long_work() {
    let listener = Listener::default();
    let storage = Arc::new(MemoryStorage::new());
    tracing::subscriber::with_default(listener.clone(), || {
        let db = options().open_storage(storage.clone()).unwrap();
        for id in 0..100 {
            db.put(id, &[7; 300]).unwrap();
        }
        db.flush().unwrap();
        assert!(listener.hears("> flush"), "{:?}", listener.lines());
        // A span that another test's thread met first, while this listener came, may be thought to interest nobody.
        tracing::callsite::rebuild_interest_cache();
        // As after a crash: a second database over what the first one has written.
        let copy = Arc::new(MemoryStorage::from_bytes(storage.to_bytes()));
        drop(options().open_storage(copy).unwrap());
        assert!(
            listener.hears("recovery: journal replayed"),
            "{:?}",
            listener.lines()
        );
        db.checkpoint().unwrap();
        for line in [
            "> checkpoint",
            "checkpoint: committed",
            "checkpoint: the journal is in the pages",
        ] {
            assert!(listener.hears(line), "{line}: {:?}", listener.lines());
        }
        db.compact().unwrap();
        for line in ["> compaction", "compaction: done"] {
            assert!(listener.hears(line), "{line}: {:?}", listener.lines());
        }
    });
}

#[test]
fn a_put_and_a_get_say_nothing() {
    let listener = Listener::default();
    let db = options()
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    // The first write makes the journal's areas, with a commit.
    db.put(1, b"one").unwrap();
    tracing::subscriber::with_default(listener.clone(), || {
        db.put(2, b"two").unwrap();
        db.get(2).unwrap();
        db.snapshot().get(1).unwrap();
        db.delete(2).unwrap();
    });
    assert_eq!(listener.lines(), Vec::<String>::new());
}

#[test]
fn what_is_written_is_counted() {
    let db = options()
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    db.put(1, b"one").unwrap();
    db.insert(b"two").unwrap();
    db.append(1, b" and more").unwrap();
    db.write_at(1, 0, b"One").unwrap();
    db.truncate(1, 5).unwrap();
    db.delete(2).unwrap();
    let mut batch = db.batch();
    batch.put(3, b"three").put(4, b"four").delete(9).tag(1);
    batch.commit().unwrap();
    db.bulk_load((10..20_u64).map(|id| (id, [1_u8; 10])))
        .unwrap();
    let mut writer = db.writer(30).unwrap();
    let streamed = vec![5; 3 << 20];
    writer.write_all(&streamed).unwrap();
    writer.finish().unwrap();
    // Straight to the pages, without the journal.
    let large = vec![6; 40 << 20];
    db.put(31, &large).unwrap();
    // What fails has changed nothing, and counts nothing.
    assert!(db.write_at(1, 100, b"x").is_err());

    let activity = db.activity();
    assert_eq!(activity.batches, 10);
    assert_eq!(activity.puts, 2 + 2 + 10 + 1 + 1);
    assert_eq!(activity.appends, 1);
    assert_eq!(activity.edits, 2);
    assert_eq!(activity.deletes, 2);
    let small = 3 + 3 + 9 + 3 + 9 + 100;
    assert_eq!(
        activity.payload_bytes,
        small + (streamed.len() + large.len()) as u64
    );
    assert!(activity.written_bytes > activity.payload_bytes - small);
    assert!(activity.commits >= 3 && activity.syncs >= activity.commits);
    assert_eq!(db.stats().unwrap().activity, db.activity());
}

#[test]
fn checkpoints_syncs_and_checks_are_counted() {
    let db = options()
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    for id in 0..1000 {
        db.put(id, &[1; 100]).unwrap();
    }
    let before = db.activity();
    db.flush().unwrap();
    assert_eq!(db.activity().syncs, before.syncs + 1);
    db.flush().unwrap(); // nothing to do
    assert_eq!(db.activity().syncs, before.syncs + 1);
    db.checkpoint().unwrap();
    let after = db.activity();
    assert_eq!(after.checkpoints, before.checkpoints + 1);
    assert!(after.checkpoint_time > before.checkpoint_time);
    db.checkpoint().unwrap(); // nothing to do
    assert_eq!(db.activity().checkpoints, after.checkpoints);
    for _ in 0..2 {
        for id in 0..1000 {
            db.get(id).unwrap();
        }
    }
    let checked = db.activity().checked_pages - after.checked_pages;
    let pages = db.stats().unwrap().file_bytes / 4096;
    assert!((20..=pages).contains(&checked), "{checked} of {pages}");
    db.compact().unwrap();
    assert_eq!(db.activity().compactions, 1);
}

#[test]
fn held_states_are_listed_while_they_are_held() {
    let db = options()
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap();
    let put_all = |byte: u8| {
        for id in 0..1000 {
            db.put(id, &[byte; 100]).unwrap();
        }
        db.checkpoint().unwrap();
    };
    put_all(1);
    assert_eq!(db.held_states().unwrap(), []);
    let held = db.snapshot();
    db.save_snapshot("monday").unwrap();
    put_all(2);
    put_all(3);
    let states = db.held_states().unwrap();
    let names: Vec<_> = states.iter().map(|state| state.name.as_deref()).collect();
    assert_eq!(names, [None, Some("monday")]);
    assert!(states[0].age.is_some() && states[1].age.is_none());
    assert!(states[0].checkpoint <= states[1].checkpoint);
    assert!(states[1].pinned_bytes > 100_000, "{states:?}");
    drop(held);
    let states = db.held_states().unwrap();
    assert_eq!(states.len(), 1);
    db.delete_snapshot("monday").unwrap();
    assert_eq!(db.held_states().unwrap(), []);
}
