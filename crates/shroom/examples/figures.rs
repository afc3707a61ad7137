//! The figures that the project promises, measured on this machine: file sizes, reads beside a hash map, latency of puts,
//! opening. Run with `cargo run --release -p shroom --example figures [-- NAME...]`.
//!
//! Seeds are fixed; sizes are exact and repeat, times vary with the machine: compare within one run.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use shroom::{Db, Options};

type Outcome = Result<(), Box<dyn Error>>;

/// Splitmix64: small, seeded, good enough to pick ids and lengths.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A length from 8 to 512, uniform in its logarithm.
    fn length(&mut self) -> usize {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (8.0 * 64_f64.powf(unit)) as usize
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) {
        bytes.clear();
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
    }
}

const TOKENS: u64 = 1_000_000;

fn random_ids() -> Vec<u64> {
    let mut random = Random(7);
    (0..TOKENS).map(|_| random.next()).collect()
}

fn file_len(path: &Path) -> Result<u64, std::io::Error> {
    Ok(std::fs::metadata(path)?.len())
}

/// Loads 16-byte tokens in batches of 1000 and closes; returns the time to load.
fn load_16(path: &Path, ids: &[u64]) -> Result<Duration, Box<dyn Error>> {
    let db = Db::create(path)?;
    let start = Instant::now();
    for chunk in ids.chunks(1000) {
        let mut batch = db.batch();
        for &id in chunk {
            batch.put(id, &u128::from(Random(id).next()).to_le_bytes());
        }
        batch.commit()?;
    }
    db.flush()?;
    let loaded = start.elapsed();
    db.close()?;
    Ok(loaded)
}

fn sizes(dir: &Path) -> Outcome {
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

fn churn(dir: &Path) -> Outcome {
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

/// Random gets, interleaved with a hash map's, in rounds; prints medians.
fn gets(dir: &Path) -> Outcome {
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

fn puts(dir: &Path) -> Outcome {
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

fn durable(dir: &Path) -> Outcome {
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

fn open(dir: &Path) -> Outcome {
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

fn large(dir: &Path) -> Outcome {
    let path = dir.join("large.shroom");
    let mut value = vec![0; 1 << 30];
    let mut random = Random(13);
    for chunk in value.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    let db = Db::create(&path)?;
    db.put(1, b"small")?;
    let start = Instant::now();
    db.put(2, &value)?;
    let put = start.elapsed();
    let start = Instant::now();
    db.append(2, &[7; 100])?;
    db.flush()?;
    let append = start.elapsed();
    db.close()?;
    let db = Db::open(&path)?;
    let start = Instant::now();
    let read = db.get(2)?.ok_or("absent")?;
    let first = start.elapsed();
    assert!(
        read.len() == value.len() + 100
            && read[..value.len()] == value[..]
            && read[value.len()..] == [7; 100]
    );
    println!(
        "1 GiB value: put {:.2} s, append of 100 bytes and flush {:.1} ms, first get (every page verified) {:.2} s, copied: {}, file {} bytes over the value",
        put.as_secs_f64(),
        append.as_secs_f64() * 1e3,
        first.as_secs_f64(),
        read.is_copied(),
        file_len(&path)? - value.len() as u64
    );
    Ok(())
}

/// Bytes that this process has handed to write calls, where the system counts them.
fn bytes_written() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = counts.lines().find(|line| line.starts_with("wchar:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A value of 1 GiB as a stream beside a plain file that is hashed on its way, in turns; then parts of it.
fn streaming(dir: &Path) -> Outcome {
    const LEN: u64 = 1 << 30;
    const ROUNDS: usize = 5;
    let mut piece = Vec::new();
    Random(17).fill(&mut piece, 1 << 20);
    let (plain, path) = (dir.join("plain"), dir.join("stream.shroom"));
    let rate = |time: Duration| LEN as f64 / time.as_secs_f64() / 1e6;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let (mut file, mut hasher) = (File::create(&plain)?, blake3::Hasher::new());
        for _ in 0..LEN >> 20 {
            file.write_all(&piece)?;
            hasher.update(&piece);
        }
        black_box(hasher.finalize());
        file.sync_data()?;
        let wrote_plain = start.elapsed();

        let db = Options::new().truncate(true).open(&path)?;
        let start = Instant::now();
        let mut writer = db.writer(1)?;
        for _ in 0..LEN >> 20 {
            writer.write_all(&piece)?;
        }
        writer.finish()?;
        let wrote = start.elapsed();
        db.close()?;

        let start = Instant::now();
        let (mut file, mut hasher) = (File::open(&plain)?, blake3::Hasher::new());
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..LEN >> 20 {
            file.read_exact(&mut buffer)?;
            hasher.update(&buffer);
        }
        black_box(hasher.finalize());
        let read_plain = start.elapsed();

        let db = Db::open_read_only(&path)?;
        let start = Instant::now();
        let reader = db.reader(1)?.ok_or("absent")?;
        let mut bytes = 0;
        for chunk in reader.chunks() {
            bytes += black_box(chunk?).len() as u64;
        }
        assert_eq!(bytes, LEN);
        let read = start.elapsed();
        let ratio = wrote.as_secs_f64() / wrote_plain.as_secs_f64();
        println!(
            "1 GiB: written {:.0} MB/s, plain file and BLAKE3 {:.0} MB/s: {ratio:.2} x the time; read and checked {:.0} MB/s, plain \
             {:.0} MB/s",
            rate(wrote),
            rate(wrote_plain),
            rate(read),
            rate(read_plain),
        );
        ratios.push(ratio);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    println!(
        "  in the middle of {ROUNDS}: {:.2} x (at most 1.3)",
        ratios[ROUNDS / 2]
    );
    std::fs::remove_file(&plain)?;
    let db = Options::new().background(false).open(&path)?;
    db.put(2, b"small")?;
    db.checkpoint()?;
    let cost = |name: &str, change: &dyn Fn() -> shroom::Result<()>| -> Outcome {
        let (before, start) = (bytes_written(), Instant::now());
        change()?;
        let time = start.elapsed();
        let written = bytes_written().zip(before);
        let written = written.map_or("not known".into(), |(after, before)| {
            (after - before).to_string()
        });
        println!(
            "  {name}: {:.2} ms, {written} bytes written",
            time.as_secs_f64() * 1e3
        );
        Ok(())
    };
    cost("append of 100 bytes, flushed", &|| {
        db.append(1, &[7; 100])?;
        db.flush()
    })?;
    cost("  ... and checkpoint", &|| db.checkpoint())?;
    cost("100 bytes written in the middle", &|| {
        db.write_at(1, LEN / 2, &[8; 100])
    })?;
    cost("100 bytes written near the end, flushed", &|| {
        db.write_at(1, LEN - 1000, &[9; 100])?;
        db.flush()
    })?;
    cost("cut by half, flushed", &|| {
        db.truncate(1, LEN / 2)?;
        db.flush()
    })?;
    cost("  ... and checkpoint", &|| db.checkpoint())?;
    Ok(())
}

/// Named snapshots of a million tokens: saving, deleting, and what differs after 1 % has changed.
fn snapshots(dir: &Path) -> Outcome {
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
fn deltas(dir: &Path) -> Outcome {
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

/// Compaction into a new file: its size and its speed. Each set of tokens is written in random order first.
fn compact(dir: &Path) -> Outcome {
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
fn compact_in_place(dir: &Path) -> Outcome {
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
            let made = db.compact_with(&mut |_| {
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

/// The content root: by reading all tokens, and kept; what keeping it costs a put.
fn roots(dir: &Path) -> Outcome {
    for (name, length) in [
        ("16 bytes", (|_| 16) as fn(&mut Random) -> usize),
        ("8 to 512 bytes", Random::length),
    ] {
        let mut found = Vec::new();
        for track in [false, true] {
            let path = dir.join(format!("roots-{name}-{track}.shroom"));
            let db = Options::new().track_content_root(track).open(&path)?;
            let mut bytes = Vec::new();
            db.bulk_load((0..TOKENS).map(|id| {
                let mut token = Random(id);
                let len = length(&mut token);
                token.fill(&mut bytes, len);
                (id, bytes.clone())
            }))?;
            let start = Instant::now();
            let mut random = Random(3);
            let mut longest = Duration::ZERO;
            for _ in 0..TOKENS {
                let (id, len) = (random.below(TOKENS), length(&mut random));
                random.fill(&mut bytes, len);
                let start = Instant::now();
                db.put(id, &bytes)?;
                longest = longest.max(start.elapsed());
            }
            db.checkpoint()?;
            let put = start.elapsed();
            let start = Instant::now();
            found.push(db.content_root()?);
            let of_pages = start.elapsed();
            for id in 0..1000 {
                db.put(id * 999, &bytes)?;
            }
            let start = Instant::now();
            db.content_root()?;
            let of_journal = start.elapsed();
            db.put(77, b"one more")?;
            let start = Instant::now();
            db.content_root()?;
            let of_one = start.elapsed();
            println!(
                "roots, {TOKENS} tokens of {name}, {}: {:.0} ns a put, checkpoints included, longest {:.1} ms; content root {:.3} ms, {:.3} ms with 1000 tokens in the journal, {:.3} ms after one more",
                if track { "kept" } else { "not kept" },
                put.as_nanos() as f64 / TOKENS as f64,
                longest.as_secs_f64() * 1e3,
                of_pages.as_secs_f64() * 1e3,
                of_journal.as_secs_f64() * 1e3,
                of_one.as_secs_f64() * 1e3,
            );
            db.close()?;
        }
        assert_eq!(found[0], found[1]);
    }
    Ok(())
}

/// Proofs of tokens that are there and of ids that are not: bytes, time to make one (which verifies it once), time to verify.
fn proofs(dir: &Path) -> Outcome {
    const PROOFS: usize = 10_000;
    let mut random_ids = random_ids();
    random_ids.sort_unstable();
    let dense_ids: Vec<u64> = (0..TOKENS).collect();
    type Length = fn(&mut Random) -> usize;
    let lengths: [(&str, Length); 2] = [("16", |_| 16), ("8 to 512", Random::length)];
    for (ids_name, ids) in [("dense", &dense_ids), ("random", &random_ids)] {
        for (name, length) in lengths {
            let path = dir.join(format!("proofs-{ids_name}-{}.shroom", name.len()));
            let db = Db::create(&path)?;
            let mut random = Random(17);
            db.bulk_load(ids.iter().map(|id| {
                let (len, mut value) = (length(&mut random), Vec::new());
                random.fill(&mut value, len);
                (*id, value)
            }))?;
            let root = db.page_root();
            for present in [true, false] {
                let mut probe = || {
                    let id = ids[random.below(TOKENS) as usize];
                    match present {
                        true => id,
                        false => id ^ random.next() >> 40 ^ 1 << 50,
                    }
                };
                let probes: Vec<u64> = (0..PROOFS).map(|_| probe()).collect();
                let start = Instant::now();
                let proofs: Vec<_> = probes
                    .iter()
                    .map(|id| db.prove(*id))
                    .collect::<Result<_, _>>()?;
                let proving = start.elapsed();
                let start = Instant::now();
                for (id, proof) in probes.iter().zip(&proofs) {
                    assert_eq!(proof.verify(root.as_bytes(), *id)?.is_some(), present);
                }
                let verifying = start.elapsed();
                let mut bytes: Vec<_> = proofs.iter().map(|proof| proof.as_bytes().len()).collect();
                bytes.sort_unstable();
                println!(
                    "proofs, {TOKENS} tokens of {name} bytes, {ids_name} ids, {}: {} bytes (mean; {} to {}), made in {:.1} us, verified in {:.1} us",
                    if present { "present" } else { "absent" },
                    bytes.iter().sum::<usize>() / PROOFS,
                    bytes[0],
                    bytes[PROOFS - 1],
                    proving.as_secs_f64() * 1e6 / PROOFS as f64,
                    verifying.as_secs_f64() * 1e6 / PROOFS as f64,
                );
            }
            db.close()?;
        }
    }
    Ok(())
}

fn main() -> Outcome {
    let dir = tempfile::tempdir_in(std::env::var_os("SHROOM_DIR").unwrap_or_else(|| ".".into()))?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    type Part = (&'static str, fn(&Path) -> Outcome);
    let parts: [Part; 14] = [
        ("sizes", sizes),
        ("churn", churn),
        ("gets", gets),
        ("puts", puts),
        ("durable", durable),
        ("open", open),
        ("large", large),
        ("streaming", streaming),
        ("snapshots", snapshots),
        ("deltas", deltas),
        ("compact", compact),
        ("compact-in-place", compact_in_place),
        ("roots", roots),
        ("proofs", proofs),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            part(dir.path())?;
        }
    }
    Ok(())
}
