//! Reads beside a hash map, and opening.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use shroom::Db;

use crate::Outcome;
use crate::data::{Random, TOKENS, load_16, random_ids};

/// Random gets, interleaved with a hash map's, in rounds; prints medians.
pub(crate) fn gets(dir: &Path) -> Outcome {
    for (name, ids) in [
        ("dense", (0..TOKENS).collect::<Vec<_>>()),
        ("random", random_ids()),
    ] {
        let path = dir.join(format!("get-{name}.shroom"));
        load_16(&path, &ids)?;
        let mut map: HashMap<u64, Box<[u8]>> = HashMap::new();
        for &id in &ids {
            map.insert(id, u128::from(Random(id).next()).to_le_bytes().into());
        }
        let db = Db::open(&path)?;
        let snapshot = db.snapshot();
        let mut random = Random(3);
        let order: Vec<u64> = (0..TOKENS)
            .map(|_| ids[random.below(TOKENS) as usize])
            .collect();
        let mut rounds: [Vec<f64>; 4] = Default::default();
        let measure = |get: &mut dyn FnMut(u64) -> u64| {
            let start = Instant::now();
            let mut sum = 0_u64;
            for &id in &order {
                sum = sum.wrapping_add(get(id));
            }
            black_box(sum);
            start.elapsed().as_nanos() as f64 / order.len() as f64
        };
        let first = |bytes: &[u8]| u64::from(bytes[0]) + u64::from(bytes[15]);
        for _ in 0..9 {
            rounds[0].push(measure(&mut |id| first(&map[&id])));
            rounds[1].push(measure(&mut |id| first(&db.get(id).unwrap().unwrap())));
            rounds[2].push(measure(&mut |id| {
                first(&snapshot.get(id).unwrap().unwrap())
            }));
            rounds[3].push(measure(&mut |id| {
                u64::from(db.get(id ^ 1 << 63 | 1 << 62).unwrap().is_some())
            }));
        }
        let cold = rounds[1][0];
        let [map, get, snapshot, absent] = rounds.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!(
            "random get, {name} ids: HashMap {map:.0} ns, Db {get:.0} ns ({:.2} x), Snapshot {snapshot:.0} ns ({:.2} x), first round (each page verified) {cold:.0} ns, absent {absent:.0} ns",
            get / map,
            snapshot / map
        );
        let start = Instant::now();
        let mut count = 0_u64;
        let mut sum = 0_u64;
        for token in db.iter() {
            let (id, bytes) = token?;
            sum = sum.wrapping_add(id + bytes.len() as u64);
            count += 1;
        }
        black_box(sum);
        println!(
            "  scan of {count} tokens: {:.1} M/s",
            count as f64 / start.elapsed().as_secs_f64() / 1e6
        );
    }
    Ok(())
}

pub(crate) fn open(dir: &Path) -> Outcome {
    let path = dir.join("open.shroom");
    let ids: Vec<u64> = (0..TOKENS).collect();
    load_16(&path, &ids)?;
    let mut times = Vec::new();
    for round in 0..21 {
        let start = Instant::now();
        let db = Db::open(&path)?;
        black_box(db.get(round * 40_000)?.map(|value| value[0]));
        times.push(start.elapsed().as_micros());
        db.close()?;
    }
    times.sort_unstable();
    println!(
        "open of {TOKENS} tokens to the first get: median {} us, max {} us",
        times[10], times[20]
    );
    Ok(())
}
