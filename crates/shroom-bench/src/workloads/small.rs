//! The file of a hundred small tokens: what a store costs that holds next to nothing.

use std::fs;

use crate::context::Context;
use crate::store::{Durability, Open, Outcome};

pub(crate) fn run(context: &mut Context) -> Outcome {
    let open: Open = context.peer.open;
    let opens = [("small", Some(open)), ("small-1k", context.peer.open_small)];
    for (row, open) in opens {
        let Some(open) = open else {
            continue;
        };
        let directory = context.directory();
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let mut store = open(&directory, Durability::Visible)?;
        for id in 0..100 {
            store.put(id, &[id as u8; 32])?;
        }
        store.close()?;
        context.record(row, context.files_len()? as f64);
    }
    Ok(())
}
