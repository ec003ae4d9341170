//! Reads the text in pictures with tesseract, a program that Debian carries.
//!
//! Why it exists: a verifier wants to know what a picture says, and the best free reader is a C++ program with a memory
//! of its own. It runs as a child: a few at once, each with a time to live, so that neither a slow picture nor a broken
//! one holds a thread of the runtime. What it refuses to know: what should have been read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{Reader, ReaderFault};
use crate::transport::Boxed;

/// Tesseract as a child process.
#[derive(Debug)]
pub struct Tesseract {
    program: PathBuf,
    /// Where the program is looked for when it is no path.
    path: OsString,
    running: Semaphore,
    /// When it was last looked for, and whether it was found.
    found: Mutex<Option<(Instant, bool)>>,
}

/// Children at once: each keeps a processor busy.
const AT_ONCE: usize = 2;
/// How long an answer to "is it installed" holds.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// "Sparse text": words anywhere, in no order of columns. Pictures are no pages.
const SPARSE: &str = "11";
/// The most that is read of what it says.
const MOST_TEXT: usize = 16 * 1024;

impl Default for Tesseract {
    fn default() -> Self {
        Self::at("tesseract")
    }
}

impl Tesseract {
    /// The program of that name in `PATH`, or at that path.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            path: std::env::var_os("PATH").unwrap_or_default(),
            running: Semaphore::new(AT_ONCE),
            found: Mutex::new(None),
        }
    }

    fn is_installed(&self) -> bool {
        if self.program.components().count() > 1 {
            return self.program.is_file();
        }
        std::env::split_paths(&self.path).any(|folder: PathBuf| Path::new(&folder).join(&self.program).is_file())
    }

    fn start(&self) -> Result<Child, ReaderFault> {
        let mut command = Command::new(&self.program);
        command.args(["stdin", "stdout", "--psm", SPARSE]).env("OMP_THREAD_LIMIT", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().map_err(|why| ReaderFault(format!("tesseract cannot be started: {why}")))
    }

    async fn run(&self, picture: Bytes) -> Result<String, ReaderFault> {
        let failed = |why: &dyn std::fmt::Display| ReaderFault(format!("tesseract failed: {why}"));
        let _leave = self.running.acquire().await.map_err(|why| failed(&why))?;
        let mut child = self.start()?;
        let input = child.stdin.take();
        let send = async move {
            if let Some(mut input) = input {
                // A child that stops reading says why with its status.
                let _ = input.write_all(&picture).await;
            }
        };
        let ((), output) = tokio::join!(send, child.wait_with_output());
        let output = output.map_err(|why| failed(&why))?;
        if !output.status.success() {
            return Err(failed(&output.status));
        }
        let text = output.stdout.get(..MOST_TEXT).unwrap_or(&output.stdout);
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

impl Reader for Tesseract {
    fn absent(&self) -> Option<&'static str> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let installed = match *found {
            Some((at, installed)) if now < at + LOOK_AGAIN => installed,
            _ => {
                let installed = self.is_installed();
                *found = Some((now, installed));
                installed
            }
        };
        (!installed).then_some("the program tesseract is not installed (Debian: tesseract-ocr)")
    }

    fn read(&self, picture: Bytes, deadline: Instant) -> Boxed<'_, Result<String, ReaderFault>> {
        Box::pin(async move {
            let late = |_| ReaderFault("tesseract took too long".to_owned());
            timeout_at(deadline, self.run(picture)).await.map_err(late)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_says_so() {
        let reader = Tesseract::at("/nowhere/tesseract");
        assert!(reader.absent().is_some_and(|why| why.contains("not installed")));
        assert!(reader.read(Bytes::new(), soon()).await.unwrap_err().0.contains("cannot be started"));
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("slow");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        let mut open = std::fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
        std::fs::set_permissions(&program, open).unwrap();
        let reader = Tesseract::at(&program);
        assert_eq!(reader.absent(), None);
        let fault = reader.read(Bytes::from_static(b"picture"), Instant::now() + Duration::from_millis(50)).await;
        assert_eq!(fault, Err(ReaderFault("tesseract took too long".to_owned())));
        assert_eq!(reader.running.available_permits(), AT_ONCE);
    }

    #[tokio::test]
    async fn noise_is_a_fault_and_not_a_text() {
        let reader = Tesseract::default();
        if reader.absent().is_none() {
            assert!(reader.read(Bytes::from_static(b"no picture at all"), soon()).await.is_err());
        }
    }
}
