//! `manifest.jsonl`: what became of every line, durable before the next step is taken.
//!
//! Why it exists: a batch that was killed is finished by running it again. A line is written before its request is
//! sent and again when it has ended; both are on the disk when the call returns. What it refuses to know: gateways.
//! The last record of a key holds. A record cut off by a crash is the file's last line without a line break; it is
//! dropped, and nothing is lost, because the step that it would have recorded had not been taken.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::exit::{Exit, Failure};
use super::super::wire::{self, Usd};

/// How far a line has come.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// A request is about to be sent, or was.
    Sent,
    /// Its images are in their files.
    Succeeded,
    /// Refused; nothing is in doubt.
    Failed,
    /// No image, and it may have been paid for.
    Ambiguous,
}

/// One line of the manifest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Record {
    /// The line's number when it was sent, from 1.
    pub(super) line: usize,
    /// The `Idempotency-Key`: the line's identity.
    pub(super) key: String,
    /// SHA-256 of the prompt.
    pub(super) prompt_sha256: String,
    /// How far it has come.
    pub(super) status: Status,
    /// When this was written.
    #[serde(with = "wire::instant")]
    pub(super) at: Timestamp,
    /// How often it was told to be bought anew while an earlier purchase was in doubt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) rebuy: u32,
    /// What came of it.
    #[serde(flatten)]
    pub(super) end: End,
}

/// What came of a line: all absent while it is only sent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct End {
    /// The first image's file, in the manifest's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    /// The first image's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    /// The further images of a line with `n` above 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) more: Vec<Saved>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// The generation: several lines may share one purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// What this line cost, in dollars; 0 when another purchase served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_usd: Option<Usd>,
    /// What it would have cost, had it not been served from another purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) saved_usd: Option<Usd>,
    /// What may have been paid for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ambiguous_usd: Option<Usd>,
    /// `fresh`, `joined` or `replayed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) served: Option<String>,
    /// Why there is no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One image of a line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Saved {
    /// Its file.
    pub(super) file: String,
    /// Its SHA-256.
    pub(super) sha256: String,
}

/// The open manifest of a folder. One batch at a time: it is locked.
#[derive(Debug)]
pub(super) struct Manifest {
    folder: PathBuf,
    file: File,
    history: Vec<Record>,
    latest: HashMap<String, usize>,
}

impl Manifest {
    /// Opens the folder's manifest, or begins one.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("manifest.jsonl");
        let wrong = |why: std::io::Error| Failure::usage(format!("{} cannot be used: {why}", path.display()));
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let mut file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::usage(format!("another batch is working on {}", folder.display()))
                    .help("wait for it, or choose another folder with -o"));
            }
            Err(TryLockError::Error(why)) => return Err(wrong(why)),
        }
        let history = read(&mut file, &path)?;
        let latest = (0..).zip(&history).map(|(at, record)| (record.key.clone(), at)).collect();
        // The directory entry of a fresh manifest must outlive a power cut too.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(wrong)?;
        Ok(Self { folder: folder.to_owned(), file, history, latest })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last record of a line.
    pub(super) fn latest(&self, key: &str) -> Option<&Record> {
        self.history.get(*self.latest.get(key)?)
    }

    /// Every record, oldest first.
    pub(super) fn history(&self) -> &[Record] {
        &self.history
    }

    /// Every line's last record.
    pub(super) fn standing(&self) -> impl Iterator<Item = &Record> {
        self.latest.values().filter_map(|at| self.history.get(*at))
    }

    /// Appends a record; it is durable on return.
    pub(super) fn append(&mut self, record: Record) -> Result<(), Failure> {
        let written = serde_json::to_vec(&record).map_err(std::io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)?;
            self.file.sync_data()
        });
        written.map_err(|why| {
            let name = self.folder.join("manifest.jsonl");
            Failure::new(Exit::Partial, format!("{} cannot be written: {why}", name.display()))
                .help("no further line is sent; make room and run it again: finished lines are not bought again")
        })?;
        self.latest.insert(record.key.clone(), self.history.len());
        self.history.push(record);
        Ok(())
    }

    /// Whether every file of a finished record is there.
    pub(super) fn has_files(&self, record: &Record) -> bool {
        let first = record.end.file.as_deref();
        let files = first.into_iter().chain(record.end.more.iter().map(|saved| saved.file.as_str()));
        first.is_some() && files.into_iter().all(|file| self.folder.join(file).is_file())
    }
}

/// Reads every record and leaves the file positioned at the end of the last whole one.
fn read(file: &mut File, path: &Path) -> Result<Vec<Record>, Failure> {
    let wrong = |why: std::io::Error| Failure::usage(format!("{} cannot be used: {why}", path.display()));
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(wrong)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut history = Vec::new();
    for (number, line) in (1..).zip(text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n')) {
        if line.is_empty() {
            continue;
        }
        let record: Record = serde_json::from_slice(line).map_err(|why| {
            Failure::usage(format!("{}:{number}: not a record of a batch: {why}", path.display()))
                .help("choose another folder with -o; without its manifest a batch would buy everything again")
        })?;
        history.push(record);
    }
    if whole < text.len() {
        file.set_len(whole as u64).map_err(wrong)?;
    }
    file.seek(SeekFrom::Start(whole as u64)).map_err(wrong)?;
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, status: Status) -> Record {
        Record {
            line: 1,
            key: key.to_owned(),
            prompt_sha256: String::new(),
            status,
            at: Timestamp::UNIX_EPOCH,
            rebuy: 0,
            end: End::default(),
        }
    }

    #[test]
    fn the_last_record_of_a_line_holds_and_a_torn_one_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(folder.path()).unwrap();
        manifest.append(record("a", Status::Sent)).unwrap();
        manifest.append(record("b", Status::Sent)).unwrap();
        manifest.append(record("a", Status::Failed)).unwrap();
        manifest.file.write_all(b"{\"line\":2,\"key\":\"b\",\"stat").unwrap();
        drop(manifest);

        let mut manifest = Manifest::open(folder.path()).unwrap();
        assert_eq!(manifest.latest("a").unwrap().status, Status::Failed);
        assert_eq!(manifest.latest("b").unwrap().status, Status::Sent);
        manifest.append(record("b", Status::Failed)).unwrap();
        drop(manifest);
        assert_eq!(Manifest::open(folder.path()).unwrap().latest("b").unwrap().status, Status::Failed);
    }

    #[test]
    fn two_batches_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let held = Manifest::open(folder.path()).unwrap();
        let second = Manifest::open(folder.path()).unwrap_err();
        assert!(second.what().starts_with("another batch is working on "), "{second}");
        drop(held);
        Manifest::open(folder.path()).unwrap();
    }

    #[test]
    fn a_foreign_file_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.jsonl"), "{\"hello\":1}\n").unwrap();
        let failure = Manifest::open(folder.path()).unwrap_err();
        assert!(failure.what().contains("manifest.jsonl:1: not a record of a batch"), "{failure}");
    }
}
