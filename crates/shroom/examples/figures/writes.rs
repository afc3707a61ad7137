//! Latency of puts, and durable ones beside the bare system calls.

use std::path::Path;
use std::time::Instant;

use shroom::Db;

use crate::Outcome;
use crate::data::{Random, TOKENS};

pub(crate) fn puts(dir: &Path) -> Outcome {
    let db = Db::create(dir.join("puts.shroom"))?;
    let mut random = Random(5);
    let mut bytes = Vec::new();
    let mut times = Vec::with_capacity(5_000_000);
    let begin = Instant::now();
    for _ in 0..5_000_000 {
        let id = random.below(TOKENS);
        let len = random.length();
        random.fill(&mut bytes, len);
        let start = Instant::now();
        db.put(id, &bytes)?;
        times.push(start.elapsed().as_nanos() as u64);
    }
    let total = begin.elapsed();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "5,000,000 random puts of 8 to 512 bytes in {:.1} s: p50 {:.2} us, p99 {:.2} us, p99.9 {:.1} us, p99.99 {:.0} us, max {:.0} us",
        total.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
    db.close()?;
    Ok(())
}

pub(crate) fn durable(dir: &Path) -> Outcome {
    use std::os::unix::fs::FileExt;
    let db = Db::create(dir.join("durable.shroom"))?;
    let bare = std::fs::File::create(dir.join("bare"))?;
    bare.write_all_at(&[0; 4096], 0)?;
    bare.sync_all()?;
    let mut times: [Vec<u128>; 2] = Default::default();
    for round in 0..1000_u64 {
        let start = Instant::now();
        bare.write_all_at(&round.to_le_bytes(), round % 500 * 8)?;
        bare.sync_data()?;
        times[0].push(start.elapsed().as_nanos());
        let start = Instant::now();
        db.put(round, &[round as u8; 32])?;
        db.flush()?;
        times[1].push(start.elapsed().as_nanos());
    }
    let [bare, put] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2] as f64 / 1000.0
    });
    println!(
        "durable put of 32 bytes, p50: {put:.0} us; bare write and fdatasync: {bare:.0} us ({:.2} x)",
        put / bare
    );
    db.close()?;
    Ok(())
}
