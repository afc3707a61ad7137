//! Compaction into a new file, and in place.

use std::path::Path;
use std::time::Instant;

use shroom::Db;

use crate::Outcome;
use crate::data::{Random, TOKENS, file_len, random_ids};

/// Compaction into a new file: its size and its speed. Each set of tokens is written in random order first.
pub(crate) fn compact(dir: &Path) -> Outcome {
    type Length = fn(&mut Random) -> usize;
    let dense: Vec<u64> = (0..TOKENS).collect();
    let sets: [(&str, Vec<u64>, Length, &str); 4] = [
        (
            "16 bytes, dense ids",
            dense.clone(),
            |_| 16,
            "at most 17.2 in all",
        ),
        (
            "16 bytes, random ids",
            random_ids(),
            |_| 16,
            "at most 23.5 in all",
        ),
        (
            "8 to 512 bytes, dense ids",
            dense,
            Random::length,
            "at most 6 over",
        ),
        (
            "8 to 512 bytes, random ids",
            random_ids(),
            Random::length,
            "7 bytes of id among them",
        ),
    ];
    for (set, (name, mut ids, length, limit)) in sets.into_iter().enumerate() {
        let path = dir.join(format!("compact-{set}.shroom"));
        let new = dir.join(format!("compacted-{set}.shroom"));
        let mut random = Random(17);
        for index in (1..ids.len()).rev() {
            ids.swap(index, random.below(index as u64 + 1) as usize);
        }
        let db = Db::create(&path)?;
        let mut bytes = Vec::new();
        for chunk in ids.chunks(1000) {
            let mut batch = db.batch();
            for &id in chunk {
                let mut token = Random(id);
                let len = length(&mut token);
                token.fill(&mut bytes, len);
                batch.put(id, &bytes);
            }
            batch.commit()?;
        }
        db.checkpoint()?;
        let start = Instant::now();
        let made = db.compact_into(&new)?;
        let compacted = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let hash = db.file_hash()?;
        let hashed = start.elapsed().as_secs_f64();
        assert_eq!(
            blake3::hash(&std::fs::read(&new)?).as_bytes(),
            hash.as_bytes()
        );
        let file = made.file_bytes as f64;
        println!(
            "compact, {TOKENS} tokens of {name}: from {:.1} MB while open to {:.1} MB, {:.2} B a token, {:.2} over the payload ({limit}); {:.0} MB/s, hash of it without writing {:.0} MB/s",
            file_len(&path)? as f64 / 1e6,
            file / 1e6,
            file / TOKENS as f64,
            (file - made.payload_bytes as f64) / TOKENS as f64,
            file / 1e6 / compacted,
            file / 1e6 / hashed,
        );
        db.close()?;
    }
    Ok(())
}

/// Compaction in place: its speed, the room that it takes, and how long a writer waits at most while it runs.
pub(crate) fn compact_in_place(dir: &Path) -> Outcome {
    let path = dir.join("in-place.shroom");
    for online in [false, true] {
        let db = Db::create(&path)?;
        let mut random = Random(23);
        let mut bytes = Vec::new();
        for _ in 0..2 * TOKENS {
            let len = random.length();
            random.fill(&mut bytes, len);
            db.put(random.below(TOKENS), &bytes)?;
        }
        // A closed file has no free page.
        db.close()?;
        let db = Db::open(&path)?;
        let before = file_len(&path)?;
        let most = std::sync::atomic::AtomicU64::new(before);
        let done = std::sync::atomic::AtomicBool::new(false);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let mut seconds = 0.0;
        let (puts, longest) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| -> shroom::Result<(u64, f64)> {
                let (mut puts, mut longest) = (0, 0.0_f64);
                let mut random = Random(29);
                let mut bytes = Vec::new();
                while online && !done.load(relaxed) {
                    let len = random.length();
                    random.fill(&mut bytes, len);
                    let start = Instant::now();
                    db.put(random.below(TOKENS), &bytes)?;
                    longest = longest.max(start.elapsed().as_secs_f64());
                    puts += 1;
                    // About 20,000 a second: a busy game server, not a load.
                    if puts % 20 == 0 {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
                Ok((puts, longest))
            });
            let start = Instant::now();
            let made = db.compact_with(|_| {
                most.fetch_max(file_len(&path).unwrap_or(0), relaxed);
                std::ops::ControlFlow::Continue(())
            });
            seconds = start.elapsed().as_secs_f64();
            done.store(true, relaxed);
            made.and(writer.join().expect("the writer does not panic"))
        })?;
        let after = file_len(&path)?;
        println!(
            "compact in place, {TOKENS} tokens of 8 to 512 bytes, {}: from {:.1} MB to {:.1} MB, at most {:.1} MB, {:.0} MB/s; {puts} puts meanwhile, the longest {:.1} ms",
            if online { "beside a writer" } else { "alone" },
            before as f64 / 1e6,
            after as f64 / 1e6,
            most.into_inner() as f64 / 1e6,
            before as f64 / 1e6 / seconds,
            longest * 1e3,
        );
        db.close()?;
        std::fs::remove_file(&path)?;
    }
    Ok(())
}
