//! Photos to the bucket: declared in portions, sent in parallel, tried again with new tickets.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use fleet::api::{NewUpload, NewUploads, UploadTicket, Uploads};
use fleet::ids::BatchId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};

use super::photos::Photo;
use super::remembered::Remembered;
use crate::client::http::{Client, Patience, PutError};
use crate::client::refusal::Refusal;
use crate::exit::Fatal;
use crate::interrupt::Interrupt;
use crate::path_key::printable;

/// Photos declared at a time. Few enough that their tickets do not expire while they wait on a slow line.
const PORTION: usize = 50;

/// How often a signal is looked for.
const TICK: Duration = Duration::from_millis(100);

/// Bytes of a photo that are hashed at a time.
const PIECE: usize = 128 << 10;

/// Photos that failed are named up to this many.
const NAMED: usize = 5;

/// How it ended.
pub(super) enum Uploaded {
    /// Every photo is in the bucket.
    All(Remembered),
    /// A signal came.
    Interrupted,
}

/// A photo with the right to send it.
struct Parcel {
    photo: Photo,
    declared: NewUpload,
    ticket: UploadTicket,
}

enum News {
    /// This index is in the bucket.
    Sent(u64),
    /// This one cannot be brought there.
    Failed(String),
    /// No more can be declared.
    Stopped(Fatal),
}

/// Uploads the photos that are not remembered, their places in `photos` as indices.
///
/// # Errors
/// When the server refuses, or a photo cannot be sent however often it is tried.
pub(super) fn all(
    client: &Client,
    batch: BatchId,
    photos: &[Photo],
    mut remembered: Remembered,
    parallel: NonZeroUsize,
    interrupt: &Interrupt,
) -> Result<Uploaded, Fatal> {
    let missing: Vec<(u64, Photo)> = (0..)
        .zip(photos)
        .filter(|(index, _)| !remembered.has(*index))
        .map(|(index, photo)| (index, photo.clone()))
        .collect();
    let total: u64 = photos.iter().map(|photo| photo.size).sum();
    let bar = bar(total);
    bar.set_position(total - missing.iter().map(|(_, photo)| photo.size).sum::<u64>());
    bar.reset_eta();

    let declarer = Declarer {
        client: client.clone(),
        path: format!("/v1/batches/{batch}/uploads"),
    };
    let (news, told) = mpsc::channel();
    // As many parcels wait as are in hand: the next portion is declared while this one is sent.
    let (parcels, waiting) = mpsc::sync_channel(parallel.get());
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..parallel.get().min(missing.len().max(1)) {
        let sender = Sender {
            declarer: declarer.clone(),
            bar: bar.clone(),
        };
        let (waiting, news) = (Arc::clone(&waiting), news.clone());
        // Not joined on the way out: a thread may hang in a write, and what it did is not lost.
        thread::spawn(move || sender.run(&waiting, &news));
    }
    let count = photos.len();
    thread::spawn(move || {
        if let Err(fatal) = declarer.run(missing, &parcels) {
            let _ = news.send(News::Stopped(fatal));
        }
    });

    let outcome = collect(&told, &mut remembered, count, &bar, interrupt);
    bar.finish_and_clear();
    outcome.map(|whole| {
        if whole {
            Uploaded::All(remembered)
        } else {
            Uploaded::Interrupted
        }
    })
}

/// Takes notes until all is sent, or nobody is left to send. False when a signal came.
fn collect(
    told: &Receiver<News>,
    remembered: &mut Remembered,
    photos: usize,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<bool, Fatal> {
    let mut failed: Vec<String> = Vec::new();
    loop {
        if interrupt.asked() {
            return Ok(false);
        }
        match told.recv_timeout(TICK) {
            Ok(News::Sent(index)) => remembered.add(index),
            Ok(News::Failed(text)) => failed.push(text),
            Ok(News::Stopped(fatal)) => return Err(fatal),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        bar.set_message(format!("{}/{photos} photos", remembered.count()));
    }
    if remembered.count() == photos {
        return Ok(true);
    }
    let more = failed.len().saturating_sub(NAMED);
    failed.truncate(NAMED);
    let mut text = format!(
        "{} photos could not be uploaded, and nothing is submitted; the same command again continues",
        photos - remembered.count()
    );
    for line in failed {
        text.push_str(&format!("\n  {line}"));
    }
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    Err(Fatal::server(text))
}

/// Tells the server what is to come.
#[derive(Clone)]
struct Declarer {
    client: Client,
    path: String,
}

impl Declarer {
    /// Declares in portions, and hands each photo on with its ticket. Ends when it is done or nobody takes any more.
    fn run(&self, missing: Vec<(u64, Photo)>, parcels: &SyncSender<Parcel>) -> Result<(), Fatal> {
        for portion in missing.chunks(PORTION) {
            let photos: Vec<_> = portion
                .iter()
                .map(|(index, photo)| declare(*index, photo))
                .collect();
            let tickets = self.tickets(photos.clone())?;
            for (((_, photo), declared), ticket) in portion.iter().zip(photos).zip(tickets) {
                let parcel = Parcel {
                    photo: photo.clone(),
                    declared,
                    ticket,
                };
                if parcels.send(parcel).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn tickets(&self, photos: Vec<NewUpload>) -> Result<Vec<UploadTicket>, Refusal> {
        let count = photos.len();
        let answer: Uploads =
            self.client
                .post(&self.path, Some(&NewUploads { photos }), &[], Patience::Long)?;
        debug_assert_eq!(answer.uploads.len(), count);
        Ok(answer.uploads)
    }
}

/// What is said of a photo beforehand. One that cannot be read now may be readable when its turn comes.
fn declare(index: u64, photo: &Photo) -> NewUpload {
    let (size, sha256) = match File::open(&photo.path).and_then(hash) {
        Ok((size, sha256)) => (size, Some(sha256)),
        Err(_) => (photo.size, None),
    };
    NewUpload {
        index,
        name: photo.name.clone(),
        size,
        group: photo.group.clone(),
        sha256,
    }
}

/// Size and SHA-256, hexadecimal.
fn hash(mut file: File) -> io::Result<(u64, String)> {
    let mut sha256 = Sha256::new();
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        sha256.update(&piece[..read]);
        size += read as u64;
    }
    let mut text = String::with_capacity(64);
    for byte in sha256.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    Ok((size, text))
}

/// Sends photos, one at a time.
struct Sender {
    declarer: Declarer,
    bar: ProgressBar,
}

impl Sender {
    fn run(&self, waiting: &Mutex<Receiver<Parcel>>, news: &mpsc::Sender<News>) {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(parcel) = next else {
                return;
            };
            let index = parcel.declared.index;
            let name = printable(&parcel.photo.path.display().to_string());
            let said = match self.send(parcel) {
                Ok(()) => News::Sent(index),
                Err(error) => News::Failed(format!("{name}: {error}")),
            };
            if news.send(said).is_err() {
                return;
            }
        }
    }

    /// Sends one photo; after a failure it is declared anew, since its ticket may have expired or it may have changed.
    fn send(&self, parcel: Parcel) -> Result<(), PutError> {
        let Parcel {
            photo,
            mut declared,
            mut ticket,
        } = parcel;
        let mut first = true;
        let attempt = || {
            if !std::mem::take(&mut first) {
                declared = declare(declared.index, &photo);
                let tickets = self.declarer.tickets(vec![declared.clone()]);
                let renewed = tickets.map_err(|refusal| PutError::Network(refusal.to_string()))?;
                if let Some(renewed) = renewed.into_iter().next() {
                    ticket = renewed;
                }
            }
            self.put(&photo, &declared, &ticket)
        };
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(10))
            .with_max_times(8);
        attempt.retry(backoff).when(PutError::is_transient).call()
    }

    fn put(&self, photo: &Photo, declared: &NewUpload, ticket: &UploadTicket) -> Result<(), PutError> {
        let unreadable = |error: io::Error| PutError::Network(error.to_string());
        let file = File::open(&photo.path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size != declared.size {
            return Err(PutError::Network(
                "it was changed while it was being uploaded".to_owned(),
            ));
        }
        let mut counted = Counted {
            file,
            bar: &self.bar,
            sent: 0,
        };
        let headers = ticket
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let put = self.declarer.client.put(&ticket.url, headers, size, &mut counted);
        if put.is_err() {
            self.bar.dec(counted.sent);
        }
        put
    }
}

/// A file whose bytes move the bar.
struct Counted<'a> {
    file: File,
    bar: &'a ProgressBar,
    sent: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.sent += read as u64;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

fn bar(total: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = "{bar:32} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
