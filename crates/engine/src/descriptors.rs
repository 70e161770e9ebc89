//! Open files on their way from a worker to its engine process, beside the bytes of the frames (`SCM_RIGHTS`, unix(7)).
//!
//! The process fences itself in and can open no file; one that it is handed it can read, and nothing else of the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Sends the beginning of `bytes`, and `file` with its first byte; gives the number of bytes that went.
///
/// # Errors
/// When the socket takes none now, or broke. The file has then not gone.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], file: &File) -> io::Result<usize> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other(
            "there is no room for a descriptor beside a frame",
        ));
    }
    Ok(sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?)
}

/// The bytes of a socket; files that came beside them are kept in the order in which they came.
pub(crate) struct Inbox {
    socket: UnixStream,
    files: VecDeque<File>,
}

impl Inbox {
    pub(crate) fn new(socket: UnixStream) -> Self {
        let files = VecDeque::new();
        Self { socket, files }
    }

    /// The next file. It is there once the first byte that it was sent with has been read.
    pub(crate) fn file(&mut self) -> Option<File> {
        self.files.pop_front()
    }
}

impl Read for Inbox {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        // Bytes that came with a file are never read together with those of another.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files.map(File::from));
            }
        }
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    #[test]
    fn files_come_in_their_order_and_bytes_lose_nothing() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut inbox = Inbox::new(theirs);
        for text in ["first", "second"] {
            (&ours).write_all(b"before ").unwrap();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            assert_eq!(send(&ours, b"with ", &file).unwrap(), 5);
        }
        drop(ours);
        let mut bytes = String::new();
        inbox.read_to_string(&mut bytes).unwrap();
        assert_eq!(bytes, "before with before with ");
        for text in ["first", "second"] {
            let mut content = String::new();
            inbox.file().unwrap().read_to_string(&mut content).unwrap();
            assert_eq!(content, text);
        }
        assert!(inbox.file().is_none());
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_no_signal() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            send(&ours, b"x", &file).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }
}
