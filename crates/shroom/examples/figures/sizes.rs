//! Sizes of files, after loading and after churn.

use std::path::Path;
use std::time::Instant;

use shroom::{Db, Options};

use crate::Outcome;
use crate::data::{Random, TOKENS, file_len, load_16, random_ids};

pub(crate) fn sizes(dir: &Path) -> Outcome {
    let dense: Vec<u64> = (0..TOKENS).collect();
    for (name, ids, limit) in [("dense", dense, 18.5), ("random", random_ids(), 25.0)] {
        let path = dir.join(format!("{name}.shroom"));
        let loaded = load_16(&path, &ids)?;
        let len = file_len(&path)?;
        let rate = TOKENS as f64 / loaded.as_secs_f64() / 1e6;
        println!(
            "16-byte tokens, {name} ids: {:.2} MB, {:.2} B a token (at most {limit}), loaded at {rate:.2} M/s",
            len as f64 / 1e6,
            len as f64 / TOKENS as f64
        );
        let bulk = dir.join(format!("{name}-bulk.shroom"));
        let mut sorted = ids;
        sorted.sort_unstable();
        let db = Db::create(&bulk)?;
        let start = Instant::now();
        db.bulk_load(
            sorted
                .iter()
                .map(|&id| (id, u128::from(Random(id).next()).to_le_bytes())),
        )?;
        let loaded = start.elapsed();
        db.close()?;
        let rate = TOKENS as f64 / loaded.as_secs_f64() / 1e6;
        println!(
            "  bulk load, sorted: {:.2} B a token, {rate:.2} M/s",
            file_len(&bulk)? as f64 / TOKENS as f64
        );
    }
    for (page_size, limit) in [(4096, 24), (1024, 8)] {
        let path = dir.join(format!("small-{page_size}.shroom"));
        let db = Options::new().page_size(page_size).open(&path)?;
        for id in 0..100 {
            db.put(id, &[id as u8; 32])?;
        }
        db.close()?;
        println!(
            "100 tokens of 32 bytes, {page_size}-byte pages: {} bytes (at most {limit} KiB)",
            file_len(&path)?
        );
    }
    Ok(())
}

pub(crate) fn churn(dir: &Path) -> Outcome {
    for (name, ids) in [
        ("dense", (0..TOKENS).collect::<Vec<_>>()),
        ("random", random_ids()),
    ] {
        let path = dir.join(format!("churn-{name}.shroom"));
        let mut random = Random(11);
        let mut lengths = vec![0; ids.len()];
        let mut bytes = Vec::new();
        let db = Db::create(&path)?;
        let start = Instant::now();
        for chunk in (0..ids.len()).collect::<Vec<_>>().chunks(1000) {
            let mut batch = db.batch();
            for &index in chunk {
                lengths[index] = random.length();
                random.fill(&mut bytes, lengths[index]);
                batch.put(ids[index], &bytes);
            }
            batch.commit()?;
        }
        db.flush()?;
        let loaded = start.elapsed();
        let start = Instant::now();
        for _ in 0..2000 {
            let mut batch = db.batch();
            for _ in 0..1000 {
                let index = random.below(TOKENS) as usize;
                lengths[index] = random.length();
                random.fill(&mut bytes, lengths[index]);
                batch.put(ids[index], &bytes);
            }
            batch.commit()?;
        }
        db.flush()?;
        let churned = start.elapsed();
        let open_len = file_len(&path)?;
        let start = Instant::now();
        db.close()?;
        let closed = start.elapsed();
        let payload: usize = lengths.iter().sum();
        let len = file_len(&path)?;
        println!(
            "churn, {name} ids: load {:.2} M/s, overwrite {:.2} M/s, payload {:.1} MB, file while open {:.3} x, closed {:.3} x ({:.1} B a token over; at most 1.15 x), close {:.2} s",
            1e-6 * TOKENS as f64 / loaded.as_secs_f64(),
            2.0 / churned.as_secs_f64(),
            payload as f64 / 1e6,
            open_len as f64 / payload as f64,
            len as f64 / payload as f64,
            (len as f64 - payload as f64) / TOKENS as f64,
            closed.as_secs_f64(),
        );
        let db = Db::open_read_only(&path)?;
        let stats = db.stats()?;
        println!(
            "  {:?}, fragmentation {:.3}",
            stats.pages, stats.fragmentation
        );
    }
    Ok(())
}
