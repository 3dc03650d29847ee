//! Reading files, so that tests need none.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::limits::CONFIG_FILE_BYTES;

/// A file's text, and who may read it.
#[derive(Debug)]
pub struct Content {
    /// Wiped when dropped: it may hold tokens.
    pub text: Zeroizing<String>,
    /// The permission bits.
    pub mode: u32,
}

/// Where files come from.
pub trait Files {
    /// The whole text of a small file.
    ///
    /// # Errors
    /// Those of the file system; `FileTooLarge` above [`CONFIG_FILE_BYTES`]; `InvalidData` when it is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<Content>;
}

/// The real files.
#[derive(Clone, Copy, Debug)]
pub struct OsFiles;

impl Files for OsFiles {
    fn read(&self, path: &Path) -> io::Result<Content> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        // All at once, so that no abandoned smaller buffer keeps a part of a secret.
        let mut text = Zeroizing::new(String::with_capacity(CONFIG_FILE_BYTES + 1));
        file.take(CONFIG_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
        if text.len() > CONFIG_FILE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Content { text, mode })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn temporary(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("edge-gateway-files-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn text_and_mode() {
        let path = temporary("mode", b"A=b\n");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let content = OsFiles.read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((content.text.as_str(), content.mode), ("A=b\n", 0o640));
    }

    #[test]
    fn too_large_missing_or_binary() {
        let (large, binary) =
            (temporary("large", &vec![b'x'; CONFIG_FILE_BYTES + 1]), temporary("binary", b"\xff\xfe"));
        let kinds =
            [&large, &binary, Path::new("/nonexistent/file")].map(|path| OsFiles.read(path).unwrap_err().kind());
        std::fs::remove_file(&large).unwrap();
        std::fs::remove_file(&binary).unwrap();
        assert_eq!(kinds, [io::ErrorKind::FileTooLarge, io::ErrorKind::InvalidData, io::ErrorKind::NotFound]);
    }
}
