//! Pictures in a folder.
//!
//! Why it exists: the usual store is a folder, where one hop to a blocking thread that looks, writes, flushes and renames
//! is all that is needed. `object_store`'s local store takes a hop for each step and a quarter to a third more CPU, which
//! at a megabyte is as much as parsing the reply. What it refuses to know: hashes.
//!
//! With [`Durability::Power`] a picture is written beside its name, flushed and renamed, so that it appears whole or not
//! at all; a kill in between leaves a file whose name begins with a dot, which nothing reads. With
//! [`Durability::Process`] it is written under its name at once: only a kill within that write leaves it short, and a
//! short one is neither served (its hash is wrong) nor kept (the next put replaces it).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::Durability;

/// The largest picture that is written without a hop: it fits a few pages of the cache.
const INLINE: usize = 64 * 1024;

/// A folder of pictures.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: Arc<Path>,
    durability: Durability,
    written: Arc<AtomicU64>,
}

impl Folder {
    /// The folder at `root`, made when there is none.
    pub(super) fn open(root: &Path, durability: Durability) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.into(), durability, written: Arc::default() })
    }

    /// Writes `bytes` at `place` (`ab/abcd.png`) unless a file of that length is there. One that is shorter is what a
    /// power cut left, and is replaced.
    pub(super) async fn put(&self, place: String, bytes: Bytes) -> io::Result<()> {
        let path = self.root.join(place);
        // A small write to the page cache costs less than a hop to another thread.
        if self.durability == Durability::Process && bytes.len() <= INLINE {
            return self.write(&path, &bytes);
        }
        let folder = self.clone();
        blocking(move || folder.write(&path, &bytes)).await
    }

    /// The bytes at `place`, if any.
    pub(super) async fn get(&self, place: String) -> io::Result<Option<Bytes>> {
        let path = self.root.join(place);
        blocking(move || match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.durability == Durability::Process
            && let Ok(mut file) = File::create_new(path)
        {
            return file.write_all(bytes);
        }
        if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64) {
            return Ok(());
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let turn = self.written.fetch_add(1, Ordering::Relaxed);
        let draft = folder.join(format!(".{}.{}.{turn}", name.display(), std::process::id()));
        let written = self.create(folder, &draft).and_then(|file| self.publish(file, bytes, &draft, path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn create(&self, folder: &Path, draft: &Path) -> io::Result<File> {
        match File::create_new(draft) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                self.flush_folder(&self.root)?;
                File::create_new(draft)
            }
            created => created,
        }
    }

    fn publish(&self, mut file: File, bytes: &[u8], draft: &PathBuf, path: &Path) -> io::Result<()> {
        file.write_all(bytes)?;
        if self.durability == Durability::Power {
            file.sync_all()?;
        }
        drop(file);
        fs::rename(draft, path)?;
        path.parent().map_or(Ok(()), |folder| self.flush_folder(folder))
    }

    /// A new name is durable when its folder is.
    fn flush_folder(&self, folder: &Path) -> io::Result<()> {
        if self.durability == Durability::Power { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
