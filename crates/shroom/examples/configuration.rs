//! A configuration store: typed values, named snapshots to go back to, and what has changed since.
//!
//! `cargo run -p shroom --example configuration --features serde [FILE]`

use std::error::Error;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shroom::Db;
use shroom::diff::Difference;

/// Settings of one service; the service's number is the id. A field that a later version adds goes to the end, with a default:
/// what was stored before can still be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    name: String,
    workers: u32,
    hosts: Vec<String>,
    #[serde(default)]
    note: Option<String>,
}

/// Reads, changes and writes the settings of a service.
fn change(db: &Db, service: u64, edit: impl FnOnce(&mut Settings)) -> Result<(), Box<dyn Error>> {
    let mut settings: Settings = db.get_value(service)?.ok_or("no such service")?;
    edit(&mut settings);
    Ok(db.put_value(service, &settings)?)
}

pub(crate) fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    let db = Db::open(file)?;
    let mut batch = db.batch();
    for service in 0..20 {
        let settings = Settings {
            name: format!("service-{service}"),
            workers: 4,
            hosts: vec![format!("10.0.0.{service}")],
            note: None,
        };
        batch.put_value(service, &settings)?;
    }
    batch.commit_synced()?;

    db.save_snapshot("before-upgrade")?; // costs nothing until something changes
    change(&db, 3, |settings| settings.workers = 64)?;
    change(&db, 7, |settings| settings.note = Some("new disk".into()))?;
    db.delete(19)?;

    let before = db.open_snapshot("before-upgrade")?;
    for difference in before.diff(&db.snapshot())? {
        match difference? {
            Difference::Changed(service) => {
                let was: Option<Settings> = before.get_value(service)?;
                let is: Option<Settings> = db.get_value(service)?;
                println!("service {service}: {was:?} became {is:?}");
            }
            other => println!("service {}: {other:?}", other.id()),
        }
    }

    db.restore("before-upgrade")?; // as if nothing had been
    let settings: Settings = db.get_value(3)?.ok_or("no such service")?;
    assert_eq!((settings.workers, db.len()?), (4, 20));
    assert!(db.get_value::<u32>(3).is_err()); // another type is an error, not a guess
    db.delete_snapshot("before-upgrade")?;
    db.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(file) => run(Path::new(&file)),
        None => run(&tempfile::tempdir()?.path().join("configuration.shroom")),
    }
}
