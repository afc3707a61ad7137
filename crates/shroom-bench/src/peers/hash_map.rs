//! The standard library's hash map: the limit for everything in memory. It keeps nothing.

use std::collections::HashMap;

use crate::peer::{Peer, Scan};
use crate::store::{Change, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "HashMap<u64, Box<[u8]>>, in memory, standard hasher",
    is_limit: true,
    has_files: false,
    can_sync: false,
    can_compact: false,
    scan: Scan::Unordered,
    ..Peer::new("HashMap", "", |_, _| Ok(Box::new(Map(HashMap::new()))))
};

#[derive(Debug)]
struct Map(HashMap<u64, Box<[u8]>>);

impl Store for Map {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        self.0.extend(tokens.map(|(id, value)| (id, value.into())));
        Ok(())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        for change in changes {
            match change.value {
                Some(value) => self.0.insert(change.id, value.into()),
                None => self.0.remove(&change.id),
            };
        }
        Ok(())
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.0.get(id).map(|value| &**value));
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        self.get_reused(ids, tally)
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for (&id, value) in &self.0 {
            tally.add_token(id, value);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }
}
