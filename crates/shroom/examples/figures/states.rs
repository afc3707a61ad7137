//! Named snapshots, and deltas between them.

use std::path::Path;
use std::time::Instant;

use shroom::Db;

use crate::Outcome;
use crate::data::{Random, TOKENS, file_len, load_16};

/// Named snapshots of a million tokens: saving, deleting, and what differs after 1 % has changed.
pub(crate) fn snapshots(dir: &Path) -> Outcome {
    let ids: Vec<u64> = (0..TOKENS).collect();
    for (name, first, step) in [("1 % in a row", 500_000, 1), ("1 % spread evenly", 0, 100)] {
        let path = dir.join(format!("snapshots-{step}.shroom"));
        load_16(&path, &ids)?;
        let db = Db::open(&path)?;
        let mut saves = Vec::new();
        for round in 0..21 {
            let start = Instant::now();
            db.save_snapshot(&format!("empty {round}"))?;
            saves.push(start.elapsed().as_micros());
        }
        saves.sort_unstable();
        let start = Instant::now();
        for index in 0..TOKENS / 100 {
            db.put(first + index * step, &[7; 16])?;
        }
        db.save_snapshot("changed")?;
        let changed = start.elapsed();
        let start = Instant::now();
        let mut diff = db.diff("empty 0", "changed")?;
        let count = diff.by_ref().filter(|change| change.is_ok()).count();
        let compared = start.elapsed();
        assert_eq!(count as u64, TOKENS / 100);
        let pages = diff.pages_compared();
        drop(diff);
        let mut deletes = Vec::new();
        for round in 0..20 {
            let start = Instant::now();
            db.delete_snapshot(&format!("empty {round}"))?;
            deletes.push(start.elapsed().as_micros());
        }
        deletes.sort_unstable();
        let own = db.snapshot_bytes("empty 20")?;
        let start = Instant::now();
        db.delete_snapshot("empty 20")?;
        let last = start.elapsed();
        let start = Instant::now();
        db.restore("changed")?;
        let restored = start.elapsed();
        let file_pages = file_len(&path)? / 4096;
        println!(
            "snapshots, {TOKENS} tokens of 16 bytes, {name} changed: save {} us (max {}), change and save {:.1} ms; diff {:.2} ms, {pages} pages of both states compared, of {file_pages} in the file; delete one whose pages are shared {} us (max {}), delete the last of the old state, {own} bytes its own, {:.2} ms; restore {:.2} ms",
            saves[10],
            saves[20],
            changed.as_secs_f64() * 1e3,
            compared.as_secs_f64() * 1e3,
            deletes[10],
            deletes[19],
            last.as_secs_f64() * 1e3,
            restored.as_secs_f64() * 1e3,
        );
        db.close()?;
    }
    Ok(())
}

/// Deltas of a million tokens, after 1 % got other bytes: lengths and times, at random ids and in a row.
pub(crate) fn deltas(dir: &Path) -> Outcome {
    type Length = fn(&mut Random) -> usize;
    let lengths: [(&str, Length); 2] = [("16 bytes", |_| 16), ("8 to 512 bytes", Random::length)];
    for (name, length) in lengths {
        for (spread, random_ids) in [("in a row", false), ("at random ids", true)] {
            let (path, copy) = (dir.join("source.shroom"), dir.join("copy.shroom"));
            let db = Db::create(&path)?;
            let mut random = Random(11);
            let mut tokens = Vec::new();
            for id in 0..TOKENS {
                let mut bytes = Vec::new();
                let len = length(&mut random);
                random.fill(&mut bytes, len);
                tokens.push((id, bytes));
            }
            let lengths: Vec<usize> = tokens.iter().map(|(_, bytes)| bytes.len()).collect();
            db.bulk_load(tokens)?;
            db.save_snapshot("mon")?;
            db.close()?;
            std::fs::copy(&path, &copy)?;
            let db = Db::open(&path)?;
            let mut payload = 0;
            let mut bytes = Vec::new();
            for index in 0..TOKENS / 100 {
                let id = match random_ids {
                    true => random.below(TOKENS),
                    false => 500_000 + index,
                };
                random.fill(&mut bytes, lengths[id as usize]);
                payload += bytes.len();
                db.put(id, &bytes)?;
            }
            db.save_snapshot("tue")?;
            let changed = {
                let mut diff = db.diff("mon", "tue")?;
                diff.by_ref().filter(|change| change.is_ok()).count()
            };
            let mut delta = Vec::new();
            let start = Instant::now();
            let info = db.export_delta(Some("mon"), "tue", &mut delta)?;
            let exported = start.elapsed();
            let start = Instant::now();
            let applied = Db::apply_delta(&copy, &delta[..])?;
            let apply = start.elapsed();
            let opened = Db::open_read_only(&copy)?;
            assert_eq!(opened.page_root(), db.page_root());
            println!(
                "deltas, {TOKENS} tokens of {name}, 1 % changed {spread} ({changed} tokens, {payload} bytes put): file {} bytes; delta {} bytes, {} pages; export to memory {:.1} ms, apply {:.1} ms, {} pages written",
                file_len(&path)?,
                info.bytes,
                info.pages,
                exported.as_secs_f64() * 1e3,
                apply.as_secs_f64() * 1e3,
                applied.pages_written,
            );
            drop((db, opened));
            std::fs::remove_file(&path)?;
            std::fs::remove_file(&copy)?;
        }
    }
    Ok(())
}
