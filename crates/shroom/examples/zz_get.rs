//! x
fn main() {
    let db = shroom::Db::create("/tmp/zzl.shroom")
        .unwrap_or_else(|_| shroom::Db::open("/tmp/zzl.shroom").unwrap());
    let dense = std::env::args().nth(1).is_some();
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
    let mut sum = 0u64;
    let mut n = 0u64;
    for _ in 0..2_000_000 {
        n = (n + 0x5851_f42d) % 1_000_000;
        sum += u64::from(s.get(id(n)).unwrap().unwrap()[0]);
    }
    println!("{sum}");
}
