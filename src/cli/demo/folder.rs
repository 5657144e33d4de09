//! A private temporary folder that lives as long as the demo.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::super::random::random;

/// A new folder with mode 0700, removed with its contents on drop.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder in the system's folder for temporary files.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("airlay-demo-{:016x}", u64::from_be_bytes(random()));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failure is ignored: the system cleans up its temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
