//! Where a policy's files are, and reading them as one unit.
//!
//! Why it exists: a folder is one policy, whole or not at all, in the order of its names. What it refuses to know: what
//! the files say.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Env;
use super::builtin;
use super::compile::MAX_FILE;
use super::diagnostic::{Diagnostic, codes};
use super::source::Source;

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The policy that the binary carries.
    BuiltIn,
    /// These files, and the `*.toml` of these folders.
    Paths(Vec<PathBuf>),
}

impl Origin {
    /// The paths; without any, the built-in policy.
    pub fn of(paths: &[PathBuf]) -> Self {
        if paths.is_empty() { Self::BuiltIn } else { Self::Paths(paths.to_vec()) }
    }
}

/// Reads every file of the policy. Fails with what cannot be read, all of it.
pub fn read(origin: &Origin) -> Result<Vec<Arc<Source>>, Vec<Diagnostic>> {
    let paths = match origin {
        Origin::BuiltIn => return Ok(vec![Source::new(builtin::NAME, builtin::POLICY)]),
        Origin::Paths(paths) => paths,
    };
    let mut sources = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        match list(path) {
            Ok(files) => {
                for file in files {
                    match text(&file) {
                        Ok(text) => sources.push(Source::new(&file.to_string_lossy(), text)),
                        Err(why) => found.push(unreadable(&file, &why)),
                    }
                }
            }
            Err(error) => found.push(unreadable(path, &error.to_string())),
        }
    }
    if found.is_empty() && sources.is_empty() {
        found.extend(paths.iter().map(|path| unreadable(path, "no *.toml in this folder")));
    }
    if found.is_empty() { Ok(sources) } else { Err(found) }
}

/// The file itself, or the folder's `*.toml` by name; hidden files are an editor's or Kubernetes' own.
pub(crate) fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir()? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|kind| kind == "toml") && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn text(file: &Path) -> Result<String, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length > MAX_FILE as u64 {
        return Err(format!("{length} bytes are more than a policy file may have ({MAX_FILE})"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    let empty = Source::new(&path.to_string_lossy(), "");
    Diagnostic::new(codes::E0002, format!("{} cannot be read", path.display())).label(&empty, &(0..0), why)
}

/// The real environment and file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

impl Env for Process {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// The real one, as if it lacked no variable and no secret: for decisions that another process made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Complete;

/// A credential as good as any, and an address where nobody listens. Nothing is ever sent with it.
const SOMETHING: &str = "http://127.0.0.1:9";

impl Env for Complete {
    fn var(&self, name: &str) -> Option<String> {
        Process.var(name).or_else(|| Some(SOMETHING.to_owned()))
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Process.read(path).or_else(|_| Ok(SOMETHING.to_owned()))
    }
}
