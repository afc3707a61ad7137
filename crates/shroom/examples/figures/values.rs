//! Large values: whole, and as streams beside plain files.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use shroom::{Db, Options};

use crate::Outcome;
use crate::data::{Random, file_len};

pub(crate) fn large(dir: &Path) -> Outcome {
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
pub(crate) fn bytes_written() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = counts.lines().find(|line| line.starts_with("wchar:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A value of 1 GiB as a stream beside a plain file that is hashed on its way, in turns; then parts of it.
pub(crate) fn streaming(dir: &Path) -> Outcome {
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
