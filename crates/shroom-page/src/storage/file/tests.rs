use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.shroom");
    (directory, path)
}

fn open_error(path: &Path, mode: OpenMode) -> io::Error {
    match FileStorage::open(path, mode) {
        Err(PageError::Open {
            path: reported,
            source,
        }) => {
            assert_eq!(reported, path);
            source
        }
        other => panic!("{other:?}"),
    }
}

fn is_locked(path: &Path, mode: OpenMode) -> bool {
    match FileStorage::open(path, mode) {
        Err(PageError::Locked { path: reported }) => {
            assert_eq!(reported, path);
            true
        }
        Ok(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn written_bytes_are_read_back_and_kept() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    assert_eq!(Storage::len(&storage).unwrap(), 0);
    storage.grow(10_000).unwrap();
    storage.write_at(9_990, &[7; 10]).unwrap();
    storage.sync().unwrap();
    let mut buffer = [1; 20];
    storage.read_at(9_980, &mut buffer).unwrap();
    assert_eq!(buffer, [[0; 10], [7; 10]].concat()[..]);
    assert_eq!(
        storage.read_at(9_981, &mut buffer).unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    drop(storage);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(
        (bytes.len(), &bytes[9_989..]),
        (10_000, &[0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7][..])
    );
}

#[test]
fn a_writer_excludes_everyone() {
    let (_directory, path) = place();
    let writer = FileStorage::open(&path, OpenMode::OPEN_OR_CREATE).unwrap();
    assert!(is_locked(&path, OpenMode::EXISTING));
    assert!(is_locked(&path, OpenMode::ReadOnly));
    drop(writer);
    assert!(!is_locked(&path, OpenMode::EXISTING));
}

#[test]
fn readers_share_and_exclude_a_writer() {
    let (_directory, path) = place();
    fs::write(&path, b"abc").unwrap();
    let first = FileStorage::open(&path, OpenMode::ReadOnly).unwrap();
    let second = FileStorage::open(&path, OpenMode::ReadOnly).unwrap();
    assert_eq!(second.view(3).unwrap().slice(0, 3), Some(&b"abc"[..]));
    drop(first);
    assert!(is_locked(&path, OpenMode::EXISTING));
    drop(second);
    assert!(!is_locked(&path, OpenMode::EXISTING));
}

#[test]
fn a_view_keeps_the_lock() {
    let (_directory, path) = place();
    fs::write(&path, b"abc").unwrap();
    let storage = FileStorage::open(&path, OpenMode::EXISTING).unwrap();
    let view = storage.view(3).unwrap();
    drop(storage);
    assert!(is_locked(&path, OpenMode::EXISTING));
    assert_eq!(view.slice(1, 2), Some(&b"bc"[..]));
    drop(view);
    assert!(!is_locked(&path, OpenMode::EXISTING));
}

#[test]
fn truncation_waits_for_the_lock() {
    let (_directory, path) = place();
    fs::write(&path, b"abc").unwrap();
    let reader = FileStorage::open(&path, OpenMode::ReadOnly).unwrap();
    assert!(is_locked(&path, OpenMode::REPLACE));
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    drop(reader);
    let storage = FileStorage::open(&path, OpenMode::REPLACE).unwrap();
    assert_eq!(Storage::len(&storage).unwrap(), 0);
    assert_eq!(
        storage.write_at(0, b"x").unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn each_mode_treats_presence_and_absence_as_it_says() {
    let (_directory, path) = place();
    assert_eq!(
        open_error(&path, OpenMode::ReadOnly).kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        open_error(&path, OpenMode::EXISTING).kind(),
        io::ErrorKind::NotFound
    );
    assert!(!path.exists());
    drop(FileStorage::open(&path, OpenMode::REPLACE).unwrap());
    fs::write(&path, b"abc").unwrap();
    assert_eq!(
        open_error(&path, OpenMode::CREATE_NEW).kind(),
        io::ErrorKind::AlreadyExists
    );
    assert_eq!(
        Storage::len(&FileStorage::open(&path, OpenMode::OPEN_OR_CREATE).unwrap()).unwrap(),
        3
    );
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    let absent = path.with_file_name("absent").join("a.shroom");
    assert_eq!(
        open_error(&absent, OpenMode::OPEN_OR_CREATE).kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn a_directory_is_not_a_file() {
    let (directory, _) = place();
    for mode in [
        OpenMode::ReadOnly,
        OpenMode::EXISTING,
        OpenMode::OPEN_OR_CREATE,
    ] {
        let kind = open_error(directory.path(), mode).kind();
        assert!(
            matches!(
                kind,
                io::ErrorKind::IsADirectory | io::ErrorKind::PermissionDenied
            ),
            "{kind}"
        );
    }
}

#[cfg(unix)]
#[test]
fn devices_are_refused() {
    assert_eq!(
        open_error(Path::new("/dev/null"), OpenMode::ReadOnly).kind(),
        io::ErrorKind::InvalidInput
    );
}

/// Made by a call: a process started meanwhile would hold the other tests' files, and their locks, for a moment.
#[cfg(target_os = "linux")]
#[test]
fn pipes_are_refused_without_waiting() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let (_directory, path) = place();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for mode in [OpenMode::ReadOnly, OpenMode::EXISTING] {
        assert_eq!(open_error(&path, mode).kind(), io::ErrorKind::InvalidInput);
    }
}

#[cfg(unix)]
#[test]
fn a_dangling_link_creates_its_target() {
    let (directory, path) = place();
    fs::create_dir(directory.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere/target", &path).unwrap();
    drop(FileStorage::open(&path, OpenMode::OPEN_OR_CREATE).unwrap());
    assert!(directory.path().join("elsewhere/target").is_file());
}

#[cfg(unix)]
#[test]
fn permission_denied_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = place();
    fs::write(&path, b"abc").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    if OpenOptions::new().write(true).open(&path).is_ok() {
        return; // the super-user may write anyway
    }
    assert_eq!(
        open_error(&path, OpenMode::EXISTING).kind(),
        io::ErrorKind::PermissionDenied
    );
    assert!(FileStorage::open(&path, OpenMode::ReadOnly).is_ok());
}

#[test]
fn a_read_only_storage_refuses_every_change() {
    let (_directory, path) = place();
    fs::write(&path, b"abc").unwrap();
    let storage = FileStorage::open(&path, OpenMode::ReadOnly).unwrap();
    let results = [
        storage.write_at(0, b"x"),
        storage.grow(10),
        storage.shrink(1),
        storage.punch_hole(0, 1).map(|_| ()),
    ];
    for result in results {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
    assert_eq!(fs::read(&path).unwrap(), b"abc");
}

#[test]
fn writes_never_extend_the_file() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(100).unwrap();
    for (offset, len) in [(99, 2), (100, 1), (u64::MAX, 1)] {
        let error = storage.write_at(offset, &vec![1; len]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{offset} {len}");
    }
    assert_eq!(
        storage.punch_hole(50, 51).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    storage.write_at(100, &[]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0; 100]);
}

#[test]
fn grow_allocates_and_shrink_gives_back() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(3 << 20).unwrap();
    storage.grow(5).unwrap();
    assert_eq!(Storage::len(&storage).unwrap(), 3 << 20);
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 3 << 20);
    }
    storage.write_at(4_000, &[7; 200]).unwrap();
    storage.shrink(4_100).unwrap();
    storage.shrink(1 << 30).unwrap();
    assert_eq!(Storage::len(&storage).unwrap(), 4_100);
    storage.grow(10_000).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(
        bytes[4_000..4_100].iter().all(|&byte| byte == 7)
            && bytes[4_100..].iter().all(|&byte| byte == 0)
    );
}

#[test]
fn growth_by_writing_gives_the_same_zeros() {
    let (_directory, path) = place();
    fs::write(&path, b"abc").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let len = 2 * ZERO_PIECE_LEN + 17;
    allocate_by_writing(&file, 3, len as u64).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes.len(), &bytes[..3]), (len, &b"abc"[..]));
    assert!(bytes[3..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_failed_grow_changes_nothing() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(4_096).unwrap();
    // More than a file offset can say.
    storage.grow(u64::MAX).unwrap_err();
    assert_eq!(Storage::len(&storage).unwrap(), 4_096);
    storage.write_at(4_096, &[1]).unwrap_err();
    storage.grow(8_192).unwrap();
    storage.write_at(8_191, &[1]).unwrap();
}

#[test]
fn a_hole_reads_as_zeros() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(1 << 20).unwrap();
    storage.write_at(0, &vec![7; 1 << 20]).unwrap();
    let view = storage.view(1 << 20).unwrap();
    assert!(storage.punch_hole(5, 0).unwrap());
    let punched = storage.punch_hole(1 << 16, 1 << 17).unwrap();
    let expected = if punched { 0 } else { 7 };
    assert_eq!(
        view.slice(1 << 16, 1 << 17).unwrap(),
        vec![expected; 1 << 17]
    );
    assert_eq!(view.slice(0, 1 << 16).unwrap(), vec![7; 1 << 16]);
    assert_eq!(Storage::len(&storage).unwrap(), 1 << 20);
}

#[test]
fn an_older_view_sees_later_writes_and_has_its_own_length() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    assert!(storage.view(0).unwrap().is_empty());
    storage.grow(10_000).unwrap();
    let old = storage.view(10_000).unwrap();
    storage.write_at(5_000, b"spore").unwrap();
    assert_eq!(old.slice(5_000, 5), Some(&b"spore"[..]));
    storage.grow(50_000).unwrap();
    storage.write_at(49_995, b"cloud").unwrap();
    assert_eq!((old.len(), old.slice(9_999, 2)), (10_000, None));
    let new = storage.view(50_000).unwrap();
    assert_eq!(new.slice(49_995, 5), Some(&b"cloud"[..]));
    assert_eq!(
        new.slice(0, 50_000).map(|bytes| &bytes[5_000..5_005]),
        Some(&b"spore"[..])
    );
    // A read past the end is refused, also where the mapping reaches.
    assert_eq!(
        storage.view(50_001).unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    assert_eq!(new.slice(49_999, 2), None);
}

#[test]
fn a_mapping_is_kept_while_it_suffices() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(4_096).unwrap();
    let first = storage.view(4_096).unwrap();
    storage.grow(1 << 20).unwrap();
    let second = storage.view(1 << 20).unwrap();
    if cfg!(unix) {
        assert_eq!(
            second.position_of(first.slice(0, 4_096).unwrap()),
            Some(0),
            "same mapping"
        );
    }
    storage.grow((1 << 20) + 1).unwrap();
    storage.write_at(1 << 20, b"!").unwrap();
    let third = storage.view((1 << 20) + 1).unwrap();
    assert_eq!(
        third.position_of(first.slice(0, 4_096).unwrap()),
        None,
        "a larger one"
    );
    storage.write_at(1, b"?").unwrap();
    for view in [&first, &second, &third] {
        assert_eq!(view.slice(1, 1), Some(&b"?"[..]));
    }
    assert_eq!(third.slice(1 << 20, 1), Some(&b"!"[..]));
}

#[test]
fn views_follow_a_shrink_and_regrowth() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(100_000).unwrap();
    storage.write_at(0, &vec![1; 100_000]).unwrap();
    let old = storage.view(20_000).unwrap();
    storage.shrink(20_000).unwrap();
    assert_eq!(
        storage.view(20_001).unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    storage.grow(100_000).unwrap();
    let new = storage.view(100_000).unwrap();
    assert_eq!(new.slice(20_000, 80_000).unwrap(), vec![0; 80_000]);
    assert_eq!(old.slice(0, 20_000), new.slice(0, 20_000));
}

#[test]
fn threads_write_and_read_together() {
    let (_directory, path) = place();
    let storage = FileStorage::open(&path, OpenMode::CREATE_NEW).unwrap();
    storage.grow(4 * 4_096).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let storage = &storage;
            scope.spawn(move || {
                for round in 1..=50 {
                    let offset = u64::from(thread) * 4_096;
                    storage.write_at(offset, &[thread ^ round; 4_096]).unwrap();
                    let view = storage.view(4 * 4_096).unwrap();
                    assert_eq!(view.slice(offset, 4_096).unwrap(), [thread ^ round; 4_096]);
                    storage.grow(u64::from(round) * 4_096).unwrap();
                }
            });
        }
    });
    assert_eq!(Storage::len(&storage).unwrap(), 50 * 4_096);
}
