//! Small pictures, many to a file.
//!
//! Why it exists: to make a file costs several times what appending two kilobytes to an open one does, and drafts and
//! thumbnails are small. What it refuses to know: hashes, and what is in a picture.
//!
//! `small-0001.pack` is a row of records: `TGP1`, the length of the name (1 byte), that of the picture (4 bytes, least
//! first), the name, the picture. A file is appended to by the process that has locked it; others read it, and look again
//! when they miss a name. A record that was cut short is never read, and nothing is written after it: the next process
//! begins another file.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a record begins.
const MAGIC: [u8; 4] = *b"TGP1";
/// Before the name.
const HEAD: usize = 9;
/// A file of this length is full.
const FULL: u64 = 256 << 20;

/// The packs of one folder.
#[derive(Debug)]
pub(super) struct Packs {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Box<str>, Place>,
    /// By number.
    packs: BTreeMap<u32, Pack>,
    /// The one that this process appends to.
    mine: Option<u32>,
}

#[derive(Debug)]
struct Pack {
    file: Arc<File>,
    /// Whole records up to here are known.
    known: u64,
}

#[derive(Clone, Debug)]
struct Place {
    file: Arc<File>,
    at: u64,
    length: usize,
}

impl Packs {
    /// The packs of the folder at `root`, which is there.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let packs = Self { root: root.to_owned(), state: Mutex::default() };
        packs.look(&mut packs.lock())?;
        Ok(packs)
    }

    /// Appends a picture unless one of that name and length is there. Gives its file, to be flushed by who wants the
    /// picture to survive a power cut.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> io::Result<Arc<File>> {
        let mut state = self.lock();
        if let Some(place) = state.places.get(name).filter(|place| place.length == bytes.len()) {
            return Ok(Arc::clone(&place.file));
        }
        let record = record(name, bytes)?;
        let pack = self.mine(&mut state)?;
        let (file, begin) = (Arc::clone(&pack.file), pack.known);
        if let Err(error) = (&*file).write_all(&record) {
            // Half a record: the file ends where it did, or another one is begun.
            if file.set_len(begin).is_err() {
                state.mine = None;
            }
            return Err(error);
        }
        pack.known += record.len() as u64;
        let place = Place { file: Arc::clone(&file), at: begin + (HEAD + name.len()) as u64, length: bytes.len() };
        state.places.insert(name.into(), place);
        Ok(file)
    }

    /// The picture of that name, if this process knows of it.
    pub(super) fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let known = self.lock().places.get(name).cloned();
        let Some(place) = known else { return Ok(None) };
        let mut bytes = vec![0; place.length];
        place.file.read_exact_at(&mut bytes, place.at)?;
        Ok(Some(bytes))
    }

    /// The same, once what other processes have written is known.
    pub(super) fn search(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.look(&mut self.lock())?;
        self.get(name)
    }

    /// The pack to append to.
    fn mine<'s>(&self, state: &'s mut State) -> io::Result<&'s mut Pack> {
        let has_room = |number: &u32| state.packs.get(number).is_some_and(|pack| pack.known < FULL);
        let going_on = state.mine.filter(has_room);
        let number = going_on.map_or_else(|| self.choose(state), Ok)?;
        state.packs.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Chooses another one. Its name is durable before anything is in it.
    fn choose(&self, state: &mut State) -> io::Result<u32> {
        state.mine = None;
        let adopted = self.adopt(state)?;
        let number = adopted.map_or_else(|| self.begin(state), Ok)?;
        File::open(&self.root)?.sync_all()?;
        state.mine = Some(number);
        Ok(number)
    }

    /// Goes on with a pack that an earlier process left whole and that has room.
    fn adopt(&self, state: &mut State) -> io::Result<Option<u32>> {
        self.look(state)?;
        for (number, pack) in &mut state.packs {
            let file = File::options().read(true).append(true).open(self.path(*number))?;
            if pack.known < FULL && file.try_lock().is_ok() && file.metadata()?.len() == pack.known {
                pack.file = Arc::new(file);
                return Ok(Some(*number));
            }
        }
        Ok(None)
    }

    fn begin(&self, state: &mut State) -> io::Result<u32> {
        let mut number = state.packs.last_key_value().map_or(1, |(last, _)| last + 1);
        let file = loop {
            match File::options().read(true).append(true).create_new(true).open(self.path(number)) {
                // Another process was quicker.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => break made?,
            }
        };
        file.try_lock()?;
        state.packs.insert(number, Pack { file: Arc::new(file), known: 0 });
        Ok(number)
    }

    /// Reads what other processes have written since the last look.
    fn look(&self, state: &mut State) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let Some(number) = entry?.file_name().to_str().and_then(number) else { continue };
            if state.mine == Some(number) {
                continue;
            }
            let State { places, packs, .. } = &mut *state;
            let pack = match packs.entry(number) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Pack { file: Arc::new(File::open(self.path(number))?), known: 0 }),
            };
            pack.known = read(&pack.file, pack.known, |name, place| {
                places.insert(name, place);
            })?;
        }
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        self.root.join(format!("small-{number:04}.pack"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(file_name: &str) -> Option<u32> {
    file_name.strip_prefix("small-")?.strip_suffix(".pack")?.parse().ok()
}

fn record(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (Ok(name_length), Ok(length)) = (u8::try_from(name.len()), u32::try_from(bytes.len())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok([&MAGIC[..], &[name_length], &length.to_le_bytes(), name.as_bytes(), bytes].concat())
}

/// Tells of every whole record from `begin` on; where they end.
fn read(file: &Arc<File>, begin: u64, mut each: impl FnMut(Box<str>, Place)) -> io::Result<u64> {
    let end = file.metadata()?.len();
    let mut at = begin;
    if at >= end {
        return Ok(at);
    }
    let mut reader = BufReader::new(&**file);
    reader.seek(SeekFrom::Start(begin))?;
    loop {
        let mut head = [0; HEAD];
        if at + HEAD as u64 > end {
            return Ok(at);
        }
        reader.read_exact(&mut head)?;
        let [a, b, c, d, name_length, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        let picture = at + HEAD as u64 + u64::from(name_length);
        let next = picture + u64::from(length);
        if [a, b, c, d] != MAGIC || next > end {
            return Ok(at);
        }
        let mut name = vec![0; usize::from(name_length)];
        reader.read_exact(&mut name)?;
        reader.seek_relative(i64::from(length))?;
        if let (Ok(name), Ok(length)) = (String::from_utf8(name), usize::try_from(length)) {
            each(name.into(), Place { file: Arc::clone(file), at: picture, length });
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(n: u8) -> Vec<u8> {
        vec![n; usize::from(n) * 37 + 1]
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_process_goes_on_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..3_u8 {
            let packs = Packs::open(folder.path()).unwrap();
            for n in 0..run * 10 {
                assert_eq!(packs.search(&format!("{n}")).unwrap(), Some(picture(n)));
            }
            for n in run * 10..run * 10 + 10 {
                assert_eq!(packs.search(&format!("{n}")).unwrap(), None);
                packs.put(&format!("{n}"), &picture(n)).unwrap();
                packs.put(&format!("{n}"), &picture(n)).unwrap();
                assert_eq!(packs.search(&format!("{n}")).unwrap(), Some(picture(n)));
            }
        }
        assert_eq!(names(folder.path()), ["small-0001.pack"]);
        let bytes = fs::metadata(folder.path().join("small-0001.pack")).unwrap().len();
        let each = |n: u8| HEAD + n.to_string().len() + picture(n).len();
        assert_eq!(bytes, (0..30).map(each).sum::<usize>() as u64, "each picture is kept once");
    }

    #[test]
    fn two_processes_append_to_two_files_and_read_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Packs::open(folder.path()).unwrap(), Packs::open(folder.path()).unwrap());
        for n in 0..50 {
            let (writes, reads) = if n % 2 == 0 { (&one, &other) } else { (&other, &one) };
            writes.put(&format!("{n}"), &picture(n)).unwrap();
            assert_eq!(reads.search(&format!("{n}")).unwrap(), Some(picture(n)));
        }
        assert_eq!(names(folder.path()), ["small-0001.pack", "small-0002.pack"]);
    }

    /// Wherever a kill cuts the last record, all before it is read, and nothing is lost by what is written later.
    #[test]
    fn a_cut_anywhere_in_the_last_record_loses_only_that() {
        let whole = [record("a", &picture(1)).unwrap(), record("b", &picture(2)).unwrap()].concat();
        let first = record("a", &picture(1)).unwrap().len();
        for cut in first..whole.len() {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("small-0001.pack"), &whole[..cut]).unwrap();
            let packs = Packs::open(folder.path()).unwrap();
            assert_eq!(packs.search("b").unwrap(), None);
            packs.put("b", &picture(2)).unwrap();
            drop(packs);
            let packs = Packs::open(folder.path()).unwrap();
            assert_eq!(packs.search("a").unwrap(), Some(picture(1)));
            assert_eq!(packs.search("b").unwrap(), Some(picture(2)));
            let expected: &[&str] =
                if cut == first { &["small-0001.pack"] } else { &["small-0001.pack", "small-0002.pack"] };
            assert_eq!(names(folder.path()), expected, "cut at {cut}");
        }
    }

    #[test]
    fn rubbish_is_read_to_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let good = record("a", &picture(3)).unwrap();
        for rubbish in [vec![0; 4096], b"TGP1\xff\xff\xff\xff\xff".to_vec(), b"TGP2".repeat(99)] {
            fs::write(folder.path().join("small-0001.pack"), [good.clone(), rubbish].concat()).unwrap();
            let packs = Packs::open(folder.path()).unwrap();
            assert_eq!(packs.search("a").unwrap(), Some(picture(3)));
            assert_eq!(packs.search("b").unwrap(), None);
        }
    }
}
