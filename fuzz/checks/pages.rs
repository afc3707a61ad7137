//! Pages that an input forges, for the checks of the layers above the page layer.
//!
//! Absent on purpose: no hash. Forged pages are written by a transaction, which makes their hashes right.

use shroom_sim::Choices;

/// Changes a page as the input says: bytes and words anywhere or near the start, whole stretches, or everything.
pub(crate) fn forge(page: &mut [u8], choices: &mut Choices<'_>) {
    for _ in 0..1 + choices.byte() % 8 {
        let kind = choices.byte() % 8;
        let at = match kind % 2 {
            0 => choices.index(page.len()),
            _ => choices.index(64),
        };
        match kind {
            0 | 1 => page[at] = choices.byte(),
            2 | 3 => put(page, at, &choices.short().to_le_bytes()),
            4 => put(page, at, &[0, 0]),
            5 => page[at] = page[at].wrapping_add(choices.one_of(&[1, 255, 4, 252, 8])),
            6 => {
                let len = usize::from(choices.byte());
                put(page, at, choices.bytes(len));
            }
            _ => {
                // A page of the input's own, header and all.
                page.fill(0);
                let len = page.len();
                put(page, 0, choices.bytes(len));
                return;
            }
        }
    }
}

/// Copies what there is room for.
fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    let room = &mut page[at..];
    let len = room.len().min(bytes.len());
    room[..len].copy_from_slice(&bytes[..len]);
}
