//! The few things that differ between operating systems: file names as bytes, links, the execute bit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file name or link target as bytes.
#[cfg(unix)]
pub(crate) fn to_bytes(name: &std::ffi::OsStr) -> io::Result<Vec<u8>> {
    Ok(std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec())
}

/// A file name or link target as bytes; elsewhere than on Unix a name must be Unicode.
#[cfg(not(unix))]
pub(crate) fn to_bytes(name: &std::ffi::OsStr) -> io::Result<Vec<u8>> {
    let text = name
        .to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "name is not Unicode"))?;
    Ok(text.replace('\\', "/").into_bytes())
}

/// A relative path from the bytes of a manifest.
#[cfg(unix)]
pub(crate) fn to_path(bytes: &[u8]) -> io::Result<PathBuf> {
    Ok(PathBuf::from(
        <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes),
    ))
}

/// A relative path from the bytes of a manifest; elsewhere than on Unix it must be Unicode.
#[cfg(not(unix))]
pub(crate) fn to_path(bytes: &[u8]) -> io::Result<PathBuf> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "this system's names are Unicode",
        )
    })?;
    Ok(PathBuf::from(text))
}

/// Creates a symbolic link.
#[cfg(unix)]
pub(crate) fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Creates a symbolic link: not done here, so that a link with content becomes a file.
#[cfg(not(unix))]
pub(crate) fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// May the owner execute it?
#[cfg(unix)]
pub(crate) fn is_executable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0
}

/// May the owner execute it? Unknown here.
#[cfg(not(unix))]
pub(crate) fn is_executable(_metadata: &fs::Metadata) -> bool {
    false
}

/// Lets everyone execute a file who may read it.
#[cfg(unix)]
pub(crate) fn make_executable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = file.metadata()?.permissions();
    let mode = permissions.mode();
    permissions.set_mode(mode | (mode & 0o444) >> 2);
    file.set_permissions(permissions)
}

/// Lets everyone execute a file who may read it: nothing to do here.
#[cfg(not(unix))]
pub(crate) fn make_executable(_file: &fs::File) -> io::Result<()> {
    Ok(())
}

/// Makes a rename or a new name in `directory` durable.
#[cfg(unix)]
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Makes a rename or a new name in `directory` durable: left to the system here.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
