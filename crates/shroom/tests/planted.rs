//! Planted faults: files whose every hash is right and whose structures are wrong in one way each. Verify names each, in the
//! layer that it belongs to.

use std::sync::Arc;

use shroom::Options;
use shroom::storage::{MemoryStorage, Storage};
use shroom::verify::Finding;
use shroom_page::{LogicalPage, PageRead, PageStore, PageTxn, Roots};
use shroom_seg::{LiveSegment, SegmentAddr, SegmentTxn, live_segments};
use shroom_sim::Random;
use shroom_sim::forge::{Image, SUPERBLOCK_HEADER_LEN, field};
use shroom_token::{Pack, Stored};

const PAGE: usize = 512;

/// Which layer is to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Page,
    Seg,
    Token,
    /// The file is refused when it is opened.
    Open,
}
use Layer::{Open, Page, Seg, Token};

/// A sound database with every kind of page and segment.
fn sample() -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    let options = Options::new().page_size(PAGE as u32).background(false);
    let db = options.open_storage(storage.clone()).unwrap();
    let mut random = Random(1);
    // Random gaps between ids, and values of all lengths up to a few pages.
    db.bulk_load((0..9_000_u64).map(|n| {
        let len = match n % 100 {
            7 => 300,
            17 => 700,
            27 => 1024,
            37 => 40_000 - n as usize % 7,
            _ => 5 + random.below(60) as usize,
        };
        (
            n * 10 + random.below(10),
            random.bytes(if n > 4_000 { len.min(200) } else { len }),
        )
    }))
    .unwrap();
    // Free space between segments.
    let ids: Vec<u64> = db.keys(..).collect::<Result<_, _>>().unwrap();
    for id in ids.iter().skip(5).step_by(40) {
        db.delete(*id).unwrap();
    }
    db.close().unwrap();
    storage.to_bytes()
}

/// Changes pages and roots of a file, and makes a proper commit of it.
fn commit(image: &[u8], change: impl FnOnce(&mut PageTxn<'_>, &mut Roots)) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
    let store = PageStore::open(Arc::clone(&storage) as Arc<dyn Storage>).unwrap();
    let mut roots = *store.snapshot().roots();
    let mut txn = store.begin().unwrap();
    change(&mut txn, &mut roots);
    txn.commit(roots).unwrap();
    storage.to_bytes()
}

/// Changes the bytes of a file at will, and makes all its hashes right.
fn forge(image: &[u8], change: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = Image::new(image.to_vec()).unwrap();
    change(&mut image);
    image.level_slots();
    image.seal();
    image.into_bytes()
}

/// What verify says of a file, with the layer.
fn findings(image: &[u8]) -> Vec<(Layer, String)> {
    let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
    let opened = Options::new().read_only(true).open_storage(storage);
    let db = match opened {
        Ok(db) => db,
        Err(error) => {
            assert!(error.is_corruption(), "{error}");
            return vec![(Open, error.to_string())];
        }
    };
    let report = db.verify().unwrap();
    let layer = |finding: &Finding| match finding {
        Finding::Page(_) => Page,
        Finding::Seg(_) => Seg,
        Finding::Token(_) => Token,
        other => panic!("{other}"),
    };
    report
        .findings
        .iter()
        .map(|finding| (layer(finding), finding.to_string()))
        .collect()
}

/// Allocated pages of a type and kind.
fn pages(txn: &PageTxn<'_>, page_type: u8, kind: u8) -> Vec<LogicalPage> {
    (1..txn.logical_pages())
        .map(LogicalPage)
        .filter(|&page| {
            txn.is_allocated(page).unwrap() && txn.page(page).unwrap()[..2] == [page_type, kind]
        })
        .collect()
}

/// All live segments of storage pages; raw pages of blobs are random, and do not look like one.
fn segments<'t>(txn: &'t PageTxn<'_>) -> Vec<LiveSegment<'t>> {
    let pages = pages(txn, 1, 0).into_iter();
    pages
        .filter_map(|page| live_segments(page, txn.page(page).unwrap()))
        .flatten()
        .collect()
}

/// The packs: live segments that stand alone and parse strictly. (No value of the sample looks like one.)
fn packs<'t>(txn: &'t PageTxn<'_>) -> Vec<(SegmentAddr, Pack<'t>, usize)> {
    let alone = segments(txn)
        .into_iter()
        .filter(|segment| segment.link.is_none());
    let mut packs: Vec<_> = alone
        .filter_map(|segment| {
            let pack = Pack::parse(segment.data).ok()?;
            pack.check(PAGE / 4).ok()?;
            Some((segment.addr, pack, segment.data.len()))
        })
        .collect();
    packs.sort_by_key(|(_, pack, _)| pack.first_id());
    packs
}

/// Blob references in packs: where the reference's bytes are, the head, and the length.
fn blobs(txn: &PageTxn<'_>) -> Vec<(LogicalPage, usize, SegmentAddr, u64)> {
    let mut found = Vec::new();
    for (addr, pack, _) in packs(txn) {
        for index in 0..pack.len() {
            if let Ok(Stored::Blob { head, length }) = pack.slot(index) {
                let mut bytes = head.to_bytes().to_vec();
                bytes.extend_from_slice(&length.to_le_bytes());
                let page = txn.page(addr.page).unwrap();
                let at = page.windows(14).position(|window| window == bytes).unwrap();
                found.push((addr.page, at, head, length));
            }
        }
    }
    found
}

/// The head of a blob of one segment, and the length of its data.
fn short_blob(txn: &PageTxn<'_>) -> (SegmentAddr, usize) {
    let found = blobs(txn).into_iter().find(|blob| blob.3 == 300);
    let head = found.expect("a short blob").2;
    (head, shroom_seg::segment_data(txn, head).unwrap().len())
}

fn set(txn: &mut PageTxn<'_>, page: LogicalPage, at: usize, bytes: &[u8]) {
    txn.page_mut(page).unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// A storage page with live segments and a free one of at least `len` bytes of data: the page, where the free one is, its length.
fn free_segment(txn: &PageTxn<'_>, len: usize) -> (LogicalPage, usize, usize) {
    let mut found = pages(txn, 1, 0).into_iter().filter_map(|page| {
        let bytes = txn.page(page).unwrap();
        live_segments(page, bytes)?;
        let at = usize::from(u16_at(bytes, 4));
        let length = usize::from(u16_at(bytes, at.max(8)));
        (at != 0 && length >= len).then_some((page, at, length))
    });
    found.next().expect("a page with free space")
}

type Plant = fn(&[u8]) -> Vec<u8>;

/// The faults: a name, the layer that is to notice, words of its finding, and how it is planted.
const FAULTS: &[(&str, Layer, &str, Plant)] = &[
    (
        "page of two logical pages",
        Page,
        "reached twice",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                let (one, other) = (image.map_entry(map, 0), image.map_entry(map, 1));
                let physical = image.u32(one);
                image.set(other, &physical.to_le_bytes());
            })
        },
    ),
    (
        "page neither used nor free",
        Page,
        "unused, but not all free",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(image.map_entry(map, 0), &[0; 4]);
                image.recount_map_page(map);
            })
        },
    ),
    (
        "number neither used nor free",
        Page,
        "unmapped, but not all free",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(image.map_entry(map, 0), &[0; 4]);
                image.recount_map_page(map);
            })
        },
    ),
    (
        "free record with a page in use",
        Page,
        "free, but not all unused",
        |image| {
            forge(image, |image| {
                let tail = SUPERBLOCK_HEADER_LEN + image.u32(field::ROOT_ENTRIES) as usize * 36;
                // The first run begins a page earlier and ends where it did: that page is in use.
                assert_eq!(image.u32(field::FREE_FIRST), 0, "inline");
                let record = &mut image.bytes_mut()[tail..];
                assert!(record[0] > 0 && record[1] & 0x7F > 0);
                let len = 1
                    + record[1..]
                        .iter()
                        .position(|byte| byte & 0x80 == 0)
                        .unwrap()
                    + 1;
                record[1] -= 1;
                record[len] += 1;
                assert!(record[len] < 0x80);
            })
        },
    ),
    (
        "page outside the file",
        Page,
        "points outside the file",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(image.map_entry(map, 1), &0x00FF_FFFF_u32.to_le_bytes());
            })
        },
    ),
    (
        "page that is not what its hash says",
        Page,
        "does not match its hash",
        |image| {
            let mut image = image.to_vec();
            image[PAGE * 9 + 300] ^= 4;
            image
        },
    ),
    (
        "map page of another type",
        Page,
        "expected a map page",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(map * PAGE, &[2]);
            })
        },
    ),
    (
        "map page of another level",
        Page,
        "expected a map page",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(map * PAGE + 1, &[3]);
            })
        },
    ),
    (
        "map page's reserved bytes",
        Page,
        "expected a map page",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(map * PAGE + 7, &[1]);
            })
        },
    ),
    ("map page's count", Page, "its header says", |image| {
        forge(image, |image| {
            let map = *image.map_pages().last().unwrap();
            image.set(map * PAGE + 2, &[1, 0]);
        })
    }),
    (
        "absent map entry with a hash",
        Page,
        "reserved bytes are not zero",
        |image| {
            forge(image, |image| {
                let map = *image.map_pages().last().unwrap();
                image.set(image.map_entry(map, 0), &[0; 4]);
                let hash = image.map_entry(map, image.fanout());
                image.recount_map_page(map);
                image.set(hash, &[1]);
            })
        },
    ),
    (
        "journal area over used pages",
        Page,
        "another run, uses pages",
        |image| {
            forge(image, |image| {
                image.set(field::JOURNAL[0], &[20, 0, 0, 0, 2, 0, 0, 0]);
            })
        },
    ),
    (
        "journal areas over each other",
        Open,
        "overlaps another",
        |image| {
            forge(image, |image| {
                image.set(field::JOURNAL[0], &[20, 0, 0, 0, 2, 0, 0, 0]);
                image.set(field::JOURNAL[1], &[21, 0, 0, 0, 2, 0, 0, 0]);
            })
        },
    ),
    (
        "superblock's reserved bytes",
        Open,
        "reserved bytes are not zero",
        |image| forge(image, |image| image.set(12, &[1])),
    ),
    (
        "nonzero bytes behind the superblock's tail",
        Open,
        "reserved bytes are not zero",
        |image| forge(image, |image| image.set(PAGE - 1, &[1])),
    ),
    ("damaged second superblock", Page, "superblock", |image| {
        let mut image = image.to_vec();
        image[PAGE + 100] ^= 1;
        image
    }),
    ("damaged first superblock", Page, "superblock", |image| {
        let mut image = image.to_vec();
        image[3] ^= 1;
        image
    }),
    (
        "superblocks of one number that differ",
        Page,
        "superblock",
        |image| {
            let mut forged = Image::new(image.to_vec()).unwrap();
            forged.set(PAGE + 240, &[55]); // the tag
            forged.seal_superblock(1);
            forged.into_bytes()
        },
    ),
    (
        "application root's reserved bytes",
        Open,
        "reserved bytes are not zero",
        |image| commit(image, |_, roots| roots.application[31] = 1),
    ),
    ("token root's reserved bytes", Open, "reserved", |image| {
        commit(image, |_, roots| roots.token[15] = 1)
    }),
    ("token count", Token, "tokens, its tokens have", |image| {
        commit(image, |_, roots| roots.token[16] ^= 1)
    }),
    (
        "payload",
        Token,
        "payload bytes, its tokens have",
        |image| commit(image, |_, roots| roots.token[24] ^= 1),
    ),
    (
        "segment root's reserved bytes",
        Seg,
        "reserved bytes are not zero",
        |image| commit(image, |_, roots| roots.seg[13] = 1),
    ),
    (
        "number of storage pages",
        Seg,
        "storage pages, there are",
        |image| commit(image, |_, roots| roots.seg[8] ^= 1),
    ),
    ("sum of free bytes", Seg, "free bytes, there are", |image| {
        commit(image, |_, roots| roots.seg[16] ^= 1)
    }),
    (
        "class of a page",
        Seg,
        "the free-space index says class",
        |image| {
            commit(image, |txn, _| {
                let leaf = pages(txn, 2, 1)[0];
                let at = (8..PAGE)
                    .find(|&at| txn.page(leaf).unwrap()[at] > 1)
                    .unwrap();
                txn.page_mut(leaf).unwrap()[at] -= 1;
            })
        },
    ),
    (
        "class of a page that is none for segments",
        Seg,
        "is not a storage page",
        |image| {
            commit(image, |txn, _| {
                let (number, node) = (pages(txn, 2, 3)[0].0 as usize, pages(txn, 2, 2)[0]);
                let child = txn.page(node).unwrap()[8 + number / 504 * 4..][..4].try_into();
                let leaf = LogicalPage(u32::from_le_bytes(child.unwrap()));
                let used = u16_at(txn.page(leaf).unwrap(), 2) + 1;
                set(txn, leaf, 8 + number % 504, &[9]);
                set(txn, leaf, 2, &used.to_le_bytes());
            })
        },
    ),
    ("maximum in the index", Seg, "says class", |image| {
        commit(image, |txn, _| {
            let node = pages(txn, 2, 2)[0];
            txn.page_mut(node).unwrap()[8 + 100 * 4] -= 1;
        })
    }),
    (
        "count of an index page",
        Seg,
        "the header's count is wrong",
        |image| {
            commit(image, |txn, _| {
                let leaf = pages(txn, 2, 1)[0];
                txn.page_mut(leaf).unwrap()[2] ^= 1;
            })
        },
    ),
    (
        "index page's reserved bytes",
        Seg,
        "reserved bytes are not zero",
        |image| {
            commit(image, |txn, _| {
                let leaf = pages(txn, 2, 1)[0];
                set(txn, leaf, 6, &[1]);
            })
        },
    ),
    ("class 255", Seg, "class 255 does not exist", |image| {
        commit(image, |txn, _| {
            let leaf = pages(txn, 2, 1)[0];
            let at = (8..PAGE)
                .find(|&at| txn.page(leaf).unwrap()[at] > 1)
                .unwrap();
            set(txn, leaf, at, &[255]);
        })
    }),
    (
        "index leaf without a class",
        Seg,
        "without a class",
        |image| {
            commit(image, |txn, _| {
                let (node, leaf) = (pages(txn, 2, 2)[0], txn.allocate().unwrap());
                set(txn, leaf, 0, &[2, 1]);
                let bytes = txn.page(node).unwrap();
                let at = (0..100)
                    .find(|&at| bytes[8 + at * 4..][..4] == [0; 4])
                    .unwrap();
                let used = u16_at(bytes, 2) + 1;
                set(txn, node, 8 + at * 4, &leaf.0.to_le_bytes());
                set(txn, node, 2, &used.to_le_bytes());
            })
        },
    ),
    (
        "page that nothing uses",
        Seg,
        "is allocated, but nothing uses it",
        |image| commit(image, |txn, _| _ = txn.allocate().unwrap()),
    ),
    (
        "segment that nothing names",
        Seg,
        "live, but nothing references it",
        |image| {
            commit(image, |txn, roots| {
                let mut segments = SegmentTxn::open(txn, &roots.seg).unwrap();
                segments.allocate(b"nobody's").unwrap();
                roots.seg = segments.finish().unwrap();
            })
        },
    ),
    (
        "freed segment that is named",
        Seg,
        "none is live",
        |image| {
            commit(image, |txn, roots| {
                let blob = blobs(txn)[0].2;
                let mut segments = SegmentTxn::open(txn, &roots.seg).unwrap();
                // The chain's reader does not ask whether a segment is live.
                segments.free(blob).unwrap();
                roots.seg = segments.finish().unwrap();
            })
        },
    ),
    (
        "segment past its page",
        Seg,
        "the page ends before",
        |image| {
            commit(image, |txn, _| {
                let addr = segments(txn).last().unwrap().addr;
                set(txn, addr.page, addr.offset.into(), &[255, 255]);
            })
        },
    ),
    (
        "storage page's kind",
        Seg,
        "expected a storage page",
        |image| {
            commit(image, |txn, _| {
                let page = packs(txn)[3].0.page;
                set(txn, page, 1, &[7]);
            })
        },
    ),
    (
        "count of live segments",
        Seg,
        "live segments, the page has",
        |image| {
            commit(image, |txn, _| {
                let page = packs(txn)[3].0.page;
                txn.page_mut(page).unwrap()[2] += 1;
            })
        },
    ),
    (
        "count of free bytes",
        Seg,
        "free bytes, the page has",
        |image| {
            commit(image, |txn, _| {
                let page = packs(txn)[3].0.page;
                txn.page_mut(page).unwrap()[6] ^= 1;
            })
        },
    ),
    (
        "free segment with bytes",
        Seg,
        "a free segment is not zero",
        |image| {
            commit(image, |txn, _| {
                let (page, at, _) = free_segment(txn, 1);
                set(txn, page, at + 2, &[1]);
            })
        },
    ),
    (
        "free segments that touch",
        Seg,
        "not ascending and coalesced",
        |image| {
            commit(image, |txn, _| {
                let (page, at, length) = free_segment(txn, 8);
                let second = at + 4;
                set(txn, page, at, &[0, 0]);
                set(txn, page, at + 2, &(second as u16).to_le_bytes());
                set(txn, page, second, &(length as u16 - 4).to_le_bytes());
            })
        },
    ),
    (
        "free list that goes back",
        Seg,
        "not ascending and coalesced",
        |image| {
            commit(image, |txn, _| {
                let (page, at, length) = free_segment(txn, 1);
                set(txn, page, at + 2 + length, &(at as u16).to_le_bytes());
            })
        },
    ),
    (
        "free list off the segments",
        Seg,
        "does not lie on a segment boundary",
        |image| {
            commit(image, |txn, _| {
                // Inside a pack whose bytes there are made a free segment of no length.
                let (addr, _, _) = packs(txn)
                    .into_iter()
                    .find(|(_, _, len)| *len > 200)
                    .unwrap();
                let at = usize::from(addr.offset) + 150;
                set(txn, addr.page, at, &[0; 4]);
                let head = u16_at(txn.page(addr.page).unwrap(), 4);
                set(
                    txn,
                    addr.page,
                    at + 2,
                    &head.to_le_bytes()[..if head as usize > at + 8 { 2 } else { 0 }],
                );
                set(txn, addr.page, 4, &(at as u16).to_le_bytes());
            })
        },
    ),
    ("reserved link", Token, "reserved link code", |image| {
        commit(image, |txn, _| {
            let (head, len) = short_blob(txn);
            set(txn, head.page, usize::from(head.offset) + 2 + len, &[5, 0]);
        })
    }),
    ("pack with a link", Seg, "is linked to another", |image| {
        commit(image, |txn, _| {
            // To a live segment of the same page, so that the link itself is sound.
            let packs = packs(txn);
            let pair = packs.iter().find_map(|(addr, _, len)| {
                let other = segments(txn)
                    .into_iter()
                    .find(|other| other.addr.page == addr.page && other.addr != *addr)?;
                Some((*addr, *len, other.addr.offset))
            });
            let (addr, len, target) = pair.expect("a pack that shares a page");
            set(
                txn,
                addr.page,
                usize::from(addr.offset) + 2 + len,
                &target.to_le_bytes(),
            );
        })
    }),
    ("chain in a circle", Token, "cycle or corruption", |image| {
        commit(image, |txn, _| {
            let (head, len) = short_blob(txn);
            let link = usize::from(head.offset) + 2 + len;
            set(txn, head.page, link, &head.offset.to_le_bytes());
            // A value as long as the store, so that its length does not end the walk.
            let length = u64::from(txn.logical_pages()) * PAGE as u64;
            let named = blobs(txn).into_iter().find(|blob| blob.2 == head);
            let (page, at, ..) = named.unwrap();
            set(txn, page, at + 6, &length.to_le_bytes());
        })
    }),
    (
        "chain of two owners",
        Seg,
        "segment is referenced twice",
        |image| {
            commit(image, |txn, _| {
                let blobs = blobs(txn);
                let (_, _, head, length) = blobs[0];
                let (page, at, ..) = blobs[1];
                set(txn, page, at, &head.to_bytes());
                set(txn, page, at + 6, &length.to_le_bytes());
            })
        },
    ),
    ("blob's length", Token, "blob", |image| {
        commit(image, |txn, _| {
            let (page, at, _, length) =
                blobs(txn).into_iter().find(|blob| blob.3 > 30_000).unwrap();
            set(txn, page, at + 6, &(length - 5_000).to_le_bytes());
        })
    }),
    ("blob's tail is longer", Token, "chain at", |image| {
        commit(image, |txn, _| {
            let (page, at, _, length) = blobs(txn).into_iter().find(|blob| blob.3 == 300).unwrap();
            set(txn, page, at + 6, &(length - 20).to_le_bytes());
        })
    }),
    ("padding of an extent", Token, "padding", |image| {
        commit(image, |txn, _| {
            let (_, _, head, length) = blobs(txn)
                .into_iter()
                .find(|blob| blob.3 > 30_000 && blob.3 % PAGE as u64 != 0)
                .unwrap();
            let extents = shroom_seg::blob_extents(txn, head, length).unwrap();
            let (first, len) = *extents.last().unwrap();
            let held: u64 = extents
                .iter()
                .map(|extent| u64::from(extent.1) * PAGE as u64)
                .sum();
            assert!(held > length, "padded");
            set(txn, LogicalPage(first.0 + len - 1), PAGE - 1, &[1]);
        })
    }),
    (
        "extents over each other",
        Seg,
        "is used as extent page and as extent page",
        |image| {
            commit(image, |txn, _| {
                let long: Vec<_> = blobs(txn)
                    .into_iter()
                    .filter(|blob| blob.3 == 1024)
                    .collect();
                let (first, _) = shroom_seg::blob_extents(txn, long[0].2, long[0].3).unwrap()[0];
                let head = long[1].2;
                set(
                    txn,
                    head.page,
                    usize::from(head.offset) + 4,
                    &first.0.to_le_bytes(),
                );
            })
        },
    ),
    ("order of ids in a pack", Token, "is not above", |image| {
        commit(image, |txn, _| {
            let (addr, ..) = packs(txn)[5];
            let at = usize::from(addr.offset) + 2 + 12;
            let width = usize::from(txn.page(addr.page).unwrap()[at - 2]);
            assert!((1..=2).contains(&width));
            let ids = txn.page(addr.page).unwrap()[at..at + 2 * width].to_vec();
            set(txn, addr.page, at, &[&ids[width..], &ids[..width]].concat());
        })
    }),
    (
        "packs over each other",
        Token,
        "ids there end before",
        |image| {
            commit(image, |txn, _| {
                let (addr, count) = packs(txn)
                    .into_iter()
                    .map(|(addr, pack, _)| (addr, pack.len()))
                    .nth(5)
                    .unwrap();
                let at = usize::from(addr.offset) + 2 + 12;
                let width = usize::from(txn.page(addr.page).unwrap()[at - 2]);
                set(txn, addr.page, at + (count - 2) * width, &vec![0xFF; width]);
            })
        },
    ),
    ("pack that could be shorter", Token, "kind is", |image| {
        commit(image, |txn, _| {
            // One token with an end column, though all lengths (its own) are equal.
            let (addr, first, len) = packs(txn)
                .into_iter()
                .map(|(addr, pack, len)| (addr, pack.first_id().0, len))
                .find(|pack| (20..=120).contains(&pack.2))
                .expect("a small pack");
            let mut data = first.to_le_bytes().to_vec();
            data.extend_from_slice(&[1, 0, 0, 0, (len - 13) as u8]);
            data.resize(len, 1);
            set(txn, addr.page, usize::from(addr.offset) + 2, &data);
        })
    }),
    (
        "inline value that is too long",
        Token,
        "wrong side of the inline limit",
        |image| {
            commit(image, |txn, _| {
                let (addr, first, len) = packs(txn)
                    .into_iter()
                    .map(|(addr, pack, len)| (addr, pack.first_id().0, len))
                    .find(|pack| pack.2 > 200)
                    .unwrap();
                let mut data = first.to_le_bytes().to_vec();
                data.extend_from_slice(&[1, 0, 0, 1]);
                data.extend_from_slice(&(len as u16 - 14).to_le_bytes());
                data.resize(len, 1);
                set(txn, addr.page, usize::from(addr.offset) + 2, &data);
            })
        },
    ),
    (
        "slack of a pack",
        Token,
        "nonzero byte after the values",
        |image| {
            commit(image, |txn, _| {
                let slack = packs(txn).into_iter().find_map(|(addr, pack, len)| {
                    let segment = shroom_seg::segment_data(txn, addr).unwrap();
                    let values: usize = (0..pack.len())
                        .map(|index| match pack.slot(index).unwrap() {
                            Stored::Inline(bytes) => bytes.len(),
                            _ => 14,
                        })
                        .sum();
                    // A pack with its own last byte as slack is found by asking for one byte less.
                    Pack::parse(&segment[..len - 1])
                        .ok()
                        .filter(|pack| pack.check(PAGE / 4).is_ok() && values > 0)?;
                    Some((addr, len))
                });
                let (addr, len) = slack.expect("a pack with slack");
                set(txn, addr.page, usize::from(addr.offset) + 2 + len - 1, &[1]);
            })
        },
    ),
    (
        "first id of a directory leaf",
        Token,
        "its directory entry says",
        |image| {
            commit(image, |txn, _| {
                let leaf = pages(txn, 2, 3)[1];
                let base = txn.page(leaf).unwrap()[8];
                set(txn, leaf, 8, &[base ^ 1]);
            })
        },
    ),
    (
        "first id in a directory node",
        Token,
        "its directory entry says",
        |image| {
            commit(image, |txn, _| {
                let node = pages(txn, 2, 4)[0];
                let bytes = txn.page(node).unwrap();
                let width = usize::from(bytes[5]);
                let value = bytes[22 + width];
                set(txn, node, 22 + width, &[value ^ 1]);
            })
        },
    ),
    (
        "order in a directory leaf",
        Token,
        "is not above",
        |image| {
            commit(image, |txn, _| {
                let leaf = pages(txn, 2, 3)[1];
                let bytes = txn.page(leaf).unwrap();
                let width = usize::from(bytes[5]);
                let ids = bytes[22 + width..22 + 3 * width].to_vec();
                set(
                    txn,
                    leaf,
                    22 + width,
                    &[&ids[width..], &ids[..width]].concat(),
                );
            })
        },
    ),
    ("pack named twice", Token, "is named twice", |image| {
        commit(image, |txn, _| {
            let leaf = pages(txn, 2, 3)[1];
            let bytes = txn.page(leaf).unwrap().to_vec();
            let used = usize::from(u16_at(&bytes, 2));
            let [ids, numbers, offsets] = [5, 6, 7].map(|at| usize::from(bytes[at]));
            let (page_at, offset_at) = (22 + used * ids, 22 + used * (ids + numbers));
            set(
                txn,
                leaf,
                page_at + numbers,
                &bytes[page_at..page_at + numbers],
            );
            set(
                txn,
                leaf,
                offset_at + offsets,
                &bytes[offset_at..offset_at + offsets],
            );
        })
    }),
    ("directory page's type", Token, "page type is", |image| {
        commit(image, |txn, _| {
            let leaf = pages(txn, 2, 3)[1];
            set(txn, leaf, 0, &[1]);
        })
    }),
    ("directory page's level", Token, "level is", |image| {
        commit(image, |txn, _| {
            let leaf = pages(txn, 2, 3)[1];
            set(txn, leaf, 4, &[1]);
        })
    }),
    ("offset in a directory node", Token, "offset", |image| {
        commit(image, |txn, _| {
            let node = pages(txn, 2, 4)[0];
            set(txn, node, 20, &[9]);
        })
    }),
    (
        "bytes behind a directory page's columns",
        Token,
        "nonzero byte after the columns",
        |image| {
            commit(image, |txn, _| {
                let leaf = *pages(txn, 2, 3).last().unwrap();
                let page = txn.page_mut(leaf).unwrap();
                assert_eq!(page[PAGE - 1], 0, "a page that is not full");
                page[PAGE - 1] = 1;
            })
        },
    ),
    (
        "bytes behind the index's columns",
        Seg,
        "reserved bytes are not zero",
        |image| {
            commit(image, |txn, _| {
                let node = pages(txn, 2, 2)[0];
                set(txn, node, PAGE - 1, &[1]);
            })
        },
    ),
];

#[test]
fn every_planted_fault_is_found() {
    let image = sample();
    assert_eq!(findings(&image), [], "the sample is sound");
    let untouched = commit(&image, |txn, _| {
        for page in [1, 5, 9] {
            txn.page_mut(LogicalPage(page)).unwrap();
        }
    });
    assert_eq!(
        findings(&untouched),
        [],
        "so is one with pages written anew"
    );
    assert_eq!(findings(&forge(&image, |_| {})), []);
    let mut missed = Vec::new();
    for (name, layer, words, plant) in FAULTS {
        println!("{name}");
        let found = findings(&plant(&image));
        if !found
            .iter()
            .any(|(at, text)| at == layer && text.contains(words))
        {
            missed.push(format!(
                "{name}: expected {layer:?} {words:?}, found {:?}",
                &found[..found.len().min(4)]
            ));
        }
    }
    println!(
        "{} kinds of fault planted, {} missed",
        FAULTS.len(),
        missed.len()
    );
    assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
}
