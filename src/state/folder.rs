//! Pictures in a folder.
//!
//! Why it exists: the usual store is a folder, where one hop to a blocking thread that looks, writes, flushes and renames
//! is all that is needed. `object_store`'s local store takes a hop for each step and a quarter to a third more CPU, which
//! at a megabyte is as much as parsing the reply. Small pictures share files (`packs.rs`). What it refuses to know: hashes.
//!
//! With [`Durability::Power`] a larger one is written beside its name, flushed and renamed, so that it appears whole or
//! not at all; a kill in between leaves a file whose name begins with a dot, which nothing reads. With
//! [`Durability::Process`] it is written under its name at once: only a kill within that write leaves it short, and a
//! short one is neither served (its hash is wrong) nor kept (the next put replaces it).
//!
//! A larger one goes to the disk around the page cache where the file system lets it (`O_DIRECT`): it is rarely read again
//! soon, and a copy of it into fresh pages of the cache costs more than all else that is done with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::Durability;
use super::packs::Packs;

/// The largest picture that shares a file. Without a flush it is written without a hop: it fits a few pages of the cache.
const SMALL: usize = 64 * 1024;
/// What passes around the page cache begins and ends at a multiple of this, in memory and in the file: the block of most
/// disks, or a multiple of it. The allocator begins what is larger than a page at one.
const BLOCK: usize = 4096;

/// A folder of pictures.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: Arc<Path>,
    durability: Durability,
    packs: Arc<Packs>,
    written: Arc<AtomicU64>,
}

impl Folder {
    /// The folder at `root`, made when there is none.
    pub(super) fn open(root: &Path, durability: Durability) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let packs = Arc::new(Packs::open(root)?);
        Ok(Self { root: root.into(), durability, packs, written: Arc::default() })
    }

    /// Writes `bytes` at `place` (`ab/abcd.png`) unless a picture of that length is there. One that is shorter is what a
    /// power cut left, and is replaced.
    pub(super) async fn put(&self, place: String, bytes: Bytes) -> io::Result<()> {
        let small = bytes.len() <= SMALL;
        // A small write to the page cache costs less than a hop to another thread.
        if small && self.durability == Durability::Process {
            return self.pack(&place, &bytes);
        }
        let folder = self.clone();
        let put =
            move || if small { folder.pack(&place, &bytes) } else { folder.write(&folder.root.join(place), &bytes) };
        blocking(put).await
    }

    /// The bytes at `place`, if any.
    pub(super) async fn get(&self, place: String) -> io::Result<Option<Bytes>> {
        let folder = self.clone();
        let get = move || match folder.packs.get(&place)? {
            Some(bytes) => Ok(Some(bytes)),
            None => match fs::read(folder.root.join(&place)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => folder.packs.search(&place),
                read => read.map(Some),
            },
        };
        Ok(blocking(get).await?.map(Bytes::from))
    }

    fn pack(&self, place: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.packs.put(place, bytes)?;
        if self.durability == Durability::Power { file.sync_data() } else { Ok(()) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.durability == Durability::Process
            && let Ok(mut file) = File::create_new(path)
        {
            return fill(&mut file, bytes);
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
        fill(&mut file, bytes)?;
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

/// Writes all of `bytes` into a new file: whole blocks around the page cache, and through it whatever that leaves.
fn fill(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let blocks = if bytes.as_ptr().align_offset(BLOCK) == 0 { bytes.len() / BLOCK * BLOCK } else { 0 };
    let (blocks, rest) = bytes.split_at(blocks);
    let written = if blocks.is_empty() { 0 } else { write_around_the_cache(file, blocks)? };
    file.write_all(blocks.get(written..).unwrap_or_default())?;
    file.write_all(rest)
}

/// Writes what the file system takes in one write that is not to stay in the cache; how many bytes. Zero is no error: many
/// know no such write, and what else is wrong the next one tells.
#[cfg(target_os = "linux")]
fn write_around_the_cache(file: &mut File, blocks: &[u8]) -> io::Result<usize> {
    use rustix::fs::{OFlags, fcntl_setfl};
    if fcntl_setfl(&*file, OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = file.write(blocks).unwrap_or(0);
    fcntl_setfl(&*file, OFlags::empty())?;
    Ok(written)
}

#[cfg(not(target_os = "linux"))]
fn write_around_the_cache(_: &mut File, _: &[u8]) -> io::Result<usize> {
    Ok(0)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
