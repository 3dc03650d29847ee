//! The file operations that saving is made of, one by one, so that a test can fail or stop after each.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::limits::STATE_BYTES;

/// A folder. Names are of files in it.
pub(super) trait Disk: Send {
    /// The whole file, or its first [`STATE_BYTES`] and one more.
    fn read(&self, name: &str) -> io::Result<Zeroizing<Vec<u8>>>;
    fn exists(&self, name: &str) -> bool;
    /// Makes an empty file for its owner alone; it must not exist.
    fn create(&mut self, name: &str) -> io::Result<()>;
    /// Writes to the file made last.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits until the file made last is on the medium, and lets go of it.
    fn sync(&mut self) -> io::Result<()>;
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Waits until names made, changed and removed are on the medium.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct OsDisk {
    folder: PathBuf,
    open: Option<File>,
}

impl OsDisk {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: None }
    }

    /// Makes the folder, for its owner alone, unless it is there.
    pub(super) fn make_folder(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Takes a file's permissions from everybody but its owner. `Some`: they were wider, and this is what they were.
    pub(super) fn tighten(&self, name: &str) -> io::Result<Option<u32>> {
        let path = self.folder.join(name);
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            return Ok(None);
        }
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).map(|()| Some(mode))
    }

    fn open(&mut self) -> io::Result<&mut File> {
        self.open.as_mut().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Disk for OsDisk {
    fn read(&self, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = File::open(self.folder.join(name))?;
        let length = file.metadata()?.len().min(STATE_BYTES as u64) as usize;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
        file.take(STATE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn exists(&self, name: &str) -> bool {
        fs::symlink_metadata(self.folder.join(name)).is_ok()
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.folder.join(name))?;
        self.open = Some(file);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open()?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let result = self.open()?.sync_all();
        self.open = None;
        result
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}
