//! Structures of the file in words: which bytes there are, who explains which of them.

use shroom_page::explain::{Explainer, Explanation, hexadecimal};
use shroom_page::inspect::{PageUse, SeenFrame};
use shroom_page::{LogicalPage, PageRead, PhysicalPage};
use shroom_seg::inspect::{
    explain_addr, explain_blob_head, explain_index_page, explain_storage_page, storage_room,
};
use shroom_seg::segment_data;
use shroom_token::inspect::{explain_directory_page, explain_pack, pack_of, shown};
use shroom_token::{Pack, TokenId, inline_len_max};

use super::Inspection;
use super::describe::owner_name;
use super::map::{FileMap, MappedPage, PageKind};
use crate::error::{Error, Result};
use crate::operation::Operation;

impl Inspection {
    /// Both superblock slots in words.
    ///
    /// # Errors
    /// I/O errors.
    pub fn explain_superblocks(&self) -> Result<[Explanation; 2]> {
        let slot = |slot| self.store.explain_slot(slot, &mut explain_roots);
        Ok([slot(0)?, slot(1)?])
    }

    /// The frames in the journal areas in words, one after the other, as far as they continue each other.
    ///
    /// # Errors
    /// Those of `visit`, which end it; I/O errors.
    pub fn explain_journal<E: From<Error>>(
        &self,
        visit: &mut dyn FnMut(Explanation) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        let walked = self.store.visit_frames(&mut |frame: SeenFrame<'_>| {
            let explanation = frame.explain(explain_operations);
            visit(explanation).map_err(|error| {
                failed = Some(error);
                Error::Stopped
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(walked?),
        }
    }

    /// First page and number of pages of both journal areas; zeros for one that is absent.
    pub fn journal_areas(&self) -> [(u32, u32); 2] {
        self.store.journal_areas()
    }

    /// The pack that holds token `id`, or would hold it; `None` when the id is below all that are in packs. What is in the journal is
    /// in no pack yet.
    ///
    /// # Errors
    /// Corruption of the pages that lead there; I/O errors.
    pub fn explain_pack(&self, id: u64) -> Result<Option<Explanation>> {
        let pages = self.snapshot();
        let root = self.token_root()?;
        let Some((addr, pack)) = pack_of(pages, &root, TokenId(id))? else {
            return Ok(None);
        };
        let data = segment_data(pages, addr).map_err(Error::from)?;
        let place = self.store.place_of(addr.page).unwrap_or(PhysicalPage::NONE);
        let page = u64::from(place.0) << self.store.page_size().shift();
        let has = match pack.get(TokenId(id), None) {
            Ok(Some(_)) => "has",
            _ => "does not have",
        };
        let title = format!(
            "pack at {addr}, {} tokens from {} to {}; it {has} token {id}",
            pack.len(),
            pack.first_id(),
            pack.id(pack.len() - 1)
        );
        // Behind the length of its segment.
        let position = page + u64::from(addr.offset) + 2;
        Ok(Some(Explanation::new(title, position, data, |explainer| {
            explain_pack(explainer, data, self.page_size() as usize);
        })))
    }
}

impl FileMap<'_> {
    /// A page of the file in words; `None` when the file does not have it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn explain(&self, page: u32) -> Result<Option<Explanation>> {
        let Some(mapped) = self.page(page) else {
            return Ok(None);
        };
        let store = &self.inspection.store;
        let physical = PhysicalPage(page);
        let Some(bytes) = store.bytes(physical) else {
            return Ok(None);
        };
        let title = self.describe(page).join("; ");
        let position = u64::from(page) << store.page_size().shift();
        let of_store = |page_use| store.explain_page(physical, page_use, &mut explain_roots);
        let explanation = match mapped.kind {
            PageKind::Superblock => Some(store.explain_slot(page, &mut explain_roots)?),
            PageKind::Map => of_store(page_use(mapped)),
            PageKind::FreeRecord => of_store(PageUse::FreeRecord),
            PageKind::Snapshot if mapped.level > 0 => of_store(page_use(mapped)),
            PageKind::Storage => Some(self.explain_storage(&title, position, mapped, bytes)),
            PageKind::Directory => explain_directory_page(&title, position, bytes),
            PageKind::FreeIndex => explain_index_page(
                &title,
                position,
                self.inspection.snapshot().page_size(),
                bytes,
            ),
            // Whose content it is, is not known: it is what it looks like.
            PageKind::Snapshot | PageKind::Unknown if storage_room(bytes).is_some() => {
                let title = format!("{title}; it looks like a storage page");
                Some(self.explain_storage(&title, position, mapped, bytes))
            }
            _ => None,
        };
        let flaw = mapped.damaged.then(|| "the page is damaged".to_owned());
        let explanation =
            explanation.unwrap_or_else(|| self.explain_raw(title, position, mapped, bytes));
        Ok(Some(explanation.with_flaw(flaw)))
    }

    fn explain_storage(
        &self,
        title: &str,
        position: u64,
        mapped: MappedPage,
        bytes: &[u8],
    ) -> Explanation {
        let page_size = self.inspection.page_size() as usize;
        let logical = LogicalPage(mapped.number);
        // Who owns what is known of the present state only.
        let (packs, chains) = match mapped.present {
            true => (self.packs_on(mapped.number), self.chains_on(mapped.number)),
            false => Default::default(),
        };
        let looks_like_pack = |data| {
            let pack = Pack::parse(data);
            pack.is_ok_and(|pack| pack.check(inline_len_max(page_size)).is_ok())
        };
        explain_storage_page(title, position, logical, bytes, &mut |addr, explainer| {
            let Some(data) = shroom_seg::segment_data_of(bytes, addr.offset) else {
                return;
            };
            let chain = chains.iter().find(|(segment, ..)| *segment == addr);
            let is_pack = packs.iter().any(|pack| pack.addr == addr);
            if is_pack || (!mapped.present && looks_like_pack(data)) {
                explain_pack(explainer, data, page_size);
            } else if let Some((_, owner, is_head)) = chain {
                let end = explainer.at() + data.len();
                if *is_head {
                    explain_blob_head(explainer, end);
                }
                let left = end.saturating_sub(explainer.at());
                explainer.field(left, "tail", |bytes| {
                    format!(
                        "{} bytes of {}: {}",
                        bytes.len(),
                        owner_name(*owner),
                        shown(bytes)
                    )
                });
            }
        })
    }

    /// A page without a structure.
    fn explain_raw(
        &self,
        title: String,
        position: u64,
        mapped: MappedPage,
        bytes: &[u8],
    ) -> Explanation {
        Explanation::new(title, position, bytes, |explainer| match mapped.kind {
            PageKind::Extent => {
                let extent = self.extent_of(mapped.number);
                let owner = extent.map_or("a value".into(), |extent| owner_name(extent.owner));
                explainer.field(bytes.len(), "value", |bytes| {
                    format!("raw bytes of {owner}: {}", shown(bytes))
                });
            }
            PageKind::Journal => explainer.field(bytes.len(), "journal", |_| {
                "a part of a journal area, whose frames `journal` explains".into()
            }),
            PageKind::Free => explainer.field(bytes.len(), "free", |bytes| {
                format!("free: its bytes mean nothing: {}", hexadecimal(bytes, 16))
            }),
            _ => explainer.field(bytes.len(), "bytes", |bytes| hexadecimal(bytes, 16)),
        })
    }
}

fn page_use(mapped: MappedPage) -> PageUse {
    match mapped.level {
        u8::MAX => PageUse::Frozen(mapped.number),
        level => PageUse::Map {
            level,
            index: mapped.number,
        },
    }
}

/// The roots of the layers in a superblock: 128 bytes.
fn explain_roots(explainer: &mut Explainer<'_>) {
    shroom_seg::inspect::explain_root(explainer);
    shroom_token::inspect::explain_root(explainer);
    explainer.number(8, "application tag", |value| format!("tag {value}"));
    explain_addr(
        explainer,
        "application lattice",
        "the sum over the tokens begins at",
    );
    explainer.number(2, "application flags", |value| match value {
        0 => "no sum over the tokens is kept".into(),
        1 => "the sum over the tokens is kept".into(),
        _ => format!("{value}: unknown flags"),
    });
    explainer.reserved(16, "application reserved");
}

/// The operations of a frame (format §9), each as one field.
fn explain_operations(explainer: &mut Explainer<'_>) {
    let mut number = 0;
    loop {
        let before = explainer.left();
        let mut rest = before;
        match Operation::decode(&mut rest) {
            Ok(None) => return,
            Ok(Some(operation)) => {
                let len = before.len() - rest.len();
                explainer.field(len, format!("operation {number}"), |_| meaning(&operation));
            }
            Err(detail) => {
                explainer.flaw(format!("operation {number}: {detail}"));
                return;
            }
        }
        number += 1;
    }
}

fn meaning(operation: &Operation<'_>) -> String {
    match *operation {
        Operation::Put { id, bytes } => {
            format!("put token {id}, {} bytes: {}", bytes.len(), shown(bytes))
        }
        Operation::Delete { id } => format!("delete token {id}"),
        Operation::Append { id, offset, bytes } => format!(
            "replace what token {id} has from byte {offset} on by {} bytes: {}",
            bytes.len(),
            shown(bytes)
        ),
        Operation::Tag { value } => format!("set the tag to {value}"),
    }
}
