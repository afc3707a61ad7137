//! The messages of a device, as a database inside of its program: read where it lies, without an operating system.
//!
//! `cargo run -p shroom --example rom_image` reads it; with `-- write`, it writes the file beside this one anew.
//!
//! What reads is `shroom::image` alone, which is there without the feature `std`: on a device, `IMAGE` lies in flash.

use std::error::Error;
use std::sync::Arc;

use shroom::Options;
use shroom::image::Image;
use shroom::storage::MemoryStorage;

/// A closed database: three pages of 512 bytes.
static IMAGE: &[u8] = include_bytes!("rom_image.shroom");

/// By number: the language in the high byte, the message in the low one.
const MESSAGES: [(u64, &str); 6] = [
    (0x0101, "ready"),
    (0x0102, "spores low"),
    (0x0103, "lid open"),
    (0x0201, "bereit"),
    (0x0202, "zu wenig Sporen"),
    (0x0203, "Deckel offen"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let built = build()?;
    if std::env::args().nth(1).is_some_and(|word| word == "write") {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rom_image.shroom");
        return Ok(std::fs::write(beside, built)?);
    }
    // The same operations give the same bytes, so a program that carries an old image is found out when it is built.
    assert!(
        built == IMAGE,
        "rom_image.shroom is not what is written now"
    );

    let image = Image::new(IMAGE)?; // reads the superblocks; pages are checked when they are first read
    assert_eq!(show(&image, 2, 3)?, Some("Deckel offen"));
    assert_eq!(show(&image, 3, 1)?, None);
    for token in image.range(0x0100..0x0200) {
        let (id, message) = token?;
        println!("{id:#06x} {} bytes", message.len());
    }
    let report = image.verify()?;
    assert!(report.is_sound());
    println!(
        "{} messages, revision {}, page root {}",
        report.tokens,
        image.tag(),
        image.page_root()
    );
    Ok(())
}

/// A message, lent from the image: no allocation, no copy.
fn show<'i>(
    image: &'i Image<'_>,
    language: u64,
    message: u64,
) -> Result<Option<&'i str>, Box<dyn Error>> {
    let Some(value) = image.get(language << 8 | message)? else {
        return Ok(None);
    };
    Ok(value.as_slice()?.map(std::str::from_utf8).transpose()?)
}

/// What the build of the device does.
fn build() -> shroom::Result<Vec<u8>> {
    let memory = MemoryStorage::new();
    let options = Options::new().page_size(512).background(false);
    let db = options.open_storage(Arc::new(memory.clone()))?;
    let mut batch = db.batch();
    for (id, text) in MESSAGES {
        batch.put(id, text.as_bytes());
    }
    batch.tag(7);
    batch.commit()?;
    db.close()?;
    Ok(memory.to_bytes())
}
