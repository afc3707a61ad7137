//! The state of a node that applies blocks: accounts and balances, a root to agree on, and proofs for those who hold no state.
//!
//! `cargo run -p shroom --example node_state [FILE]`

use std::error::Error;
use std::path::Path;

use shroom::proof::Proof;
use shroom::{Db, Options, PageRoot};

/// From one account to another.
struct Transfer {
    from: u64,
    to: u64,
    amount: u64,
}

/// A balance of 0 is no token, so that equal states have equal content.
fn balance(db: &Db, account: u64) -> Result<u64, Box<dyn Error>> {
    db.get(account)?.map_or(Ok(0), |bytes| decode(&bytes))
}

fn decode(bytes: &[u8]) -> Result<u64, Box<dyn Error>> {
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

/// Applies a block: all of it with its height as the tag, or nothing. A block that was applied before a crash is not again.
fn apply(db: &Db, height: u64, block: &[Transfer]) -> Result<(), Box<dyn Error>> {
    if db.tag() >= height {
        return Ok(());
    }
    let mut changed = std::collections::BTreeMap::new();
    for Transfer { from, to, amount } in block {
        for account in [from, to] {
            if !changed.contains_key(account) {
                changed.insert(*account, balance(db, *account)?);
            }
        }
        let left = changed[from].checked_sub(*amount).ok_or("not covered")?;
        changed.insert(*from, left);
        *changed.entry(*to).or_default() += amount;
    }
    let mut batch = db.batch();
    for (account, balance) in changed {
        match balance {
            0 => batch.delete(account),
            balance => batch.put(account, &balance.to_le_bytes()),
        };
    }
    batch.tag(height);
    Ok(batch.commit_synced()?)
}

pub(crate) fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    // With the sum kept in the file, a root costs the same however many accounts there are.
    let db = Options::new().track_content_root(true).open(file)?;
    db.bulk_load((0..10_000_u64).map(|account| (account, 1000_u64.to_le_bytes())))?;
    let blocks: Vec<Vec<Transfer>> = (0..20_u64)
        .map(|height| {
            let pay = |n: u64| Transfer {
                from: height * 7 + n,
                to: 5000 + n,
                amount: 1 + n,
            };
            (0..100).map(pay).collect()
        })
        .collect();
    for (height, block) in (1..).zip(&blocks) {
        apply(&db, height, block)?;
        apply(&db, height, block)?; // told twice, done once
    }
    println!("height {}: content root {}", db.tag(), db.content_root()?);

    // Another node has come to the same accounts in another way, and the roots agree.
    let other = Db::in_memory()?;
    for token in &db {
        let (account, balance) = token?;
        other.put(account, &balance)?;
    }
    assert_eq!(other.content_root()?, db.content_root()?);

    // Who knows the page root alone believes a proof, whoever brings it.
    let proof: Vec<u8> = db.prove(5003)?.into_bytes();
    let root: PageRoot = db.page_root();
    let proven = Proof::from_bytes(proof.clone()).verify(root.as_bytes(), 5003)?;
    let proven = decode(&proven.ok_or("the account is there")?)?;
    assert_eq!(proven, balance(&db, 5003)?);
    println!("account 5003 has {proven}, proven by {} bytes", proof.len());
    db.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(file) => run(Path::new(&file)),
        None => run(&tempfile::tempdir()?.path().join("node.shroom")),
    }
}
