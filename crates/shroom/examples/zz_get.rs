//! x
fn main() {
    let path = std::env::args().nth(3).unwrap_or("/tmp/zzl.shroom".into());
    let db =
        shroom::Db::create(&path).unwrap_or_else(|_| shroom::Db::open_read_only(&path).unwrap());
    let dense = std::env::args().nth(1).is_some_and(|a| a == "dense");
    let id = |n: u64| {
        if dense {
            n
        } else {
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
    };
    if db.is_empty().unwrap() {
        for n in 0..1_000_000 {
            db.put(id(n), &[n as u8; 16]).unwrap();
        }
        db.close().unwrap();
        return;
    }
    let s = db.snapshot();
    let passes = std::env::args().nth(2).map_or(2, |n| n.parse().unwrap());
    let mut sum = 0u64;
    let mut n = 0u64;
    let mut times = [vec![], vec![]];
    for _ in 0..passes {
        let t = std::time::Instant::now();
        for _ in 0..1_000_000 {
            n = (n + 0x5851_f42d) % 1_000_000;
            sum += u64::from(s.get(id(n)).unwrap().unwrap()[0]);
        }
        times[0].push(t.elapsed().as_nanos() / 1_000_000);
        if passes == 2 {
            continue;
        }
        let t = std::time::Instant::now();
        for _ in 0..1_000_000 {
            n = (n + 0x5851_f42d) % 1_000_000;
            sum += u64::from(db.get(id(n)).unwrap().unwrap()[0]);
        }
        times[1].push(t.elapsed().as_nanos() / 1_000_000);
    }
    for t in &mut times {
        t.sort();
    }
    println!(
        "{sum} snap min/median {:?}/{:?} db {:?}/{:?}",
        times[0].first(),
        times[0].get(passes / 2),
        times[1].first(),
        times[1].get(passes / 2)
    );
}
