//! The hand-over to a new binary: listeners pass from the gateway that runs to the one that starts.
//!
//! Why it exists: a listener that is closed refuses callers, and resets those that wait in its queue. Here the sockets
//! themselves pass, over a Unix socket in the data folder, so that they are never closed: whoever connects meanwhile waits
//! in the queue for the new gateway. The old one then finishes what is under way and ends; the new one opens the books once
//! they are free. What it refuses to know: what is behind the listeners.
//!
//! The talk: the new one connects; the old one sends the names of its planes, each with its listener; the end of the
//! connection says that the old one has closed its books.

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use tokio::net::UnixListener;

/// The socket's name in the data folder.
const NAME: &str = "handover.sock";
/// The most listeners of a gateway.
const MOST: usize = 8;
/// Beyond the longest drain, which is an hour.
const PATIENCE: Duration = Duration::from_secs(3_700);

/// Listeners by the names of their planes.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<(String, TcpListener)>);

impl Listeners {
    /// Adds a copy of a plane's listener.
    pub(crate) fn keep(&mut self, plane: &str, listener: impl AsFd) -> io::Result<()> {
        self.0.push((plane.to_owned(), listener.as_fd().try_clone_to_owned()?.into()));
        Ok(())
    }

    /// The listener of a plane, when it listens on this address or any port will do.
    pub(crate) fn take(&mut self, plane: &str, wanted: SocketAddr) -> Option<TcpListener> {
        let fits = |at: SocketAddr| at == wanted || (wanted.port() == 0 && at.ip() == wanted.ip());
        let at = self.0.iter().position(|(name, listener)| name == plane && listener.local_addr().is_ok_and(fits))?;
        Some(self.0.swap_remove(at).1)
    }
}

/// The old gateway's end: whoever connects gets the listeners.
pub(crate) struct Offer {
    socket: UnixListener,
    path: PathBuf,
    /// Whether the path may be a successor's by now.
    taken: bool,
}

impl Offer {
    /// Waits in `data` for a successor. A socket that a dead gateway left is replaced: the caller has the books, and so is
    /// the only one.
    pub(crate) fn in_folder(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { socket, path, taken: false })
    }

    /// The next successor.
    pub(crate) async fn asked(&mut self) -> io::Result<Successor> {
        let (stream, _) = self.socket.accept().await?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        self.taken = true;
        Ok(Successor(stream))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.taken {
            // One that stays behind is replaced by the next gateway.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The gateway that takes over. While this value lives, it waits for the books.
#[derive(Debug)]
pub(crate) struct Successor(UnixStream);

impl Successor {
    /// Gives it the listeners.
    pub(crate) fn receive(&self, listeners: &Listeners) -> io::Result<()> {
        let names: Vec<&str> = listeners.0.iter().map(|(name, _)| name.as_str()).collect();
        let sockets: Vec<BorrowedFd<'_>> = listeners.0.iter().map(|(_, listener)| listener.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut carried = SendAncillaryBuffer::new(&mut space);
        if !carried.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("too many listeners"));
        }
        let text = names.join("\n");
        rustix::net::sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut carried, SendFlags::empty())?;
        Ok(())
    }
}

/// The gateway that runs on a data folder, and whose listeners came here.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks the gateway of this folder for its listeners; `None` when none runs.
    pub(crate) fn of_folder(data: &Path) -> io::Result<Option<(Self, Listeners)>> {
        let stream = match UnixStream::connect(data.join(NAME)) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut text = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut carried = RecvAncillaryBuffer::new(&mut space);
        let read =
            rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut carried, RecvFlags::CMSG_CLOEXEC)?;
        let names = String::from_utf8_lossy(text.get(..read.bytes).unwrap_or_default()).into_owned();
        let mut sockets: Vec<OwnedFd> = Vec::new();
        for message in carried.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        let named = names.split('\n').map(str::to_owned).zip(sockets.into_iter().map(TcpListener::from));
        Ok(Some((Self(stream), Listeners(named.collect()))))
    }

    /// Waits until it has closed its books.
    pub(crate) fn gone(mut self) -> io::Result<()> {
        self.0.set_read_timeout(Some(PATIENCE))?;
        match self.0.read(&mut [0; 1]) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_pass_with_their_queue() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Predecessor::of_folder(folder.path()).unwrap().is_none(), "nobody runs here");
        let old = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = old.local_addr().unwrap();
        let mut kept = Listeners::default();
        kept.keep("api", &old).unwrap();
        let mut offer = Offer::in_folder(folder.path()).unwrap();
        let path = folder.path().to_owned();
        let asking = tokio::task::spawn_blocking(move || Predecessor::of_folder(&path).unwrap().unwrap());
        let successor = offer.asked().await.unwrap();
        successor.receive(&kept).unwrap();
        let (predecessor, mut came) = asking.await.unwrap();
        // Connects while nobody accepts, and the old one then closes what it has.
        let waiting = std::net::TcpStream::connect(address).unwrap();
        drop((old, kept));
        assert!(came.take("admin", address).is_none());
        let new = came.take("api", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(new.accept().unwrap().1, waiting.local_addr().unwrap());
        drop(successor);
        predecessor.gone().unwrap();
        drop(offer);
        assert!(Predecessor::of_folder(folder.path()).unwrap().is_none(), "what is left leads nowhere");
    }
}
