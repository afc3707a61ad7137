//! Roots and proofs.

use std::path::Path;
use std::time::{Duration, Instant};

use shroom::{Db, Options};

use crate::Outcome;
use crate::data::{Random, TOKENS, random_ids};

/// The content root: by reading all tokens, and kept; what keeping it costs a put.
pub(crate) fn roots(dir: &Path) -> Outcome {
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
pub(crate) fn proofs(dir: &Path) -> Outcome {
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
