//! What the system knows: bytes read and written, private memory, lengths of files. Most of it on Linux only; elsewhere the figures
//! are missing.

use std::fs;
use std::io;
use std::path::Path;

/// Where the system shows its devices' counters.
pub(crate) const DEVICES: &str = "/sys/dev/block/";

/// Bytes that the device under a directory has written, for anybody, since the system began. (What the system counts for a process
/// is the pages that it touched, and with large folios many more than are written.)
#[cfg(target_os = "linux")]
pub(crate) fn device_bytes_written(directory: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata(directory).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("{DEVICES}{major}:{minor}/stat")).ok()?;
    // The seventh field: sectors written, of 512 bytes whatever the device has.
    let sectors: u64 = text.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn device_bytes_written(_: &Path) -> Option<u64> {
    None
}

/// Bytes that this process caused to be read from the device.
pub(crate) fn device_bytes_read() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/io").ok()?, "read_bytes:")
}

/// Memory of this process that is backed by no file, in bytes: what it cannot give back.
pub(crate) fn private_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    Some(field(&text, "Anonymous:")? * 1024)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes that the files in a directory take: the length of each, or its allocated blocks where those are fewer, as they are in a
/// sparse file.
pub(crate) fn files_len(directory: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() {
            files_len(&entry.path())?
        } else {
            metadata.len().min(allocated(&metadata))
        };
    }
    Ok(total)
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(_: &fs::Metadata) -> u64 {
    u64::MAX
}

/// Asks the system to forget what it has cached of the files in a directory. They must be durable, and nobody may have them mapped.
pub(crate) fn drop_cache(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_cache(&entry.path())?;
        } else {
            let file = fs::File::open(entry.path())?;
            file.sync_all()?;
            forget(&file)?;
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn forget(file: &fs::File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(
        file,
        0,
        None,
        rustix::fs::Advice::DontNeed,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &fs::File) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Copies a directory, holes aside, and makes the copy durable, so that writing it out is no part of what follows.
pub(crate) fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let text = "rchar: 1\nread_bytes: 4096\nwrite_bytes: 3\n";
        assert_eq!(field(text, "read_bytes:"), Some(4096));
        assert_eq!(field(text, "bytes:"), None);
    }

    #[test]
    fn a_copied_directory_has_the_same_files() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::write(from.join("a"), [1; 5000]).unwrap();
        fs::write(from.join("inner/b"), [2; 100]).unwrap();
        let to = directory.path().join("to");
        copy_directory(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("inner/b")).unwrap(), [2; 100]);
        assert_eq!(files_len(&to).unwrap(), 5100);
    }
}
