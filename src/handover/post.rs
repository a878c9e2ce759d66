//! Parcels by post: many at a time, over a mailbox that leads to another gateway or into systemd's fd store.
//!
//! ```text
//!   Dispatch ── letter: a sealed memory file {version, parcels: [{fds, record}]}, then all descriptors ──▶ Intake
//!            ◀── receipt: {version, refused: [index], all} ────────────────────────────────────────────────
//! ```
//! To a gateway: letter, receipt, letter, receipt. A descriptor stays ours until the receipt for its letter is
//! here, and the other side sends that before it touches anything: when it dies without one, nobody has read
//! from what we still hold. Into the store: nobody answers, what is sent is gone, and no room is an error at once.
//!
//! Promises: a letter is adopted or refused as a whole, except for records of a kind that the reader does not know:
//! they are refused by index. Whatever is refused is closed here and still open there; parcels that were not
//! delivered come back. Parcels and their descriptors keep their order.
//! Must not know: what a record means, who serves it.
//!
//! # What fits
//! A store has no reader, so its socket buffer has to hold everything, and counts each datagram with 768 bytes
//! although the file and the descriptors in it are free. With the kernel's default of 212,992 bytes
//! (net.core.wmem_default; wmem_max is not asked for) that is 278 letters, 70,056 descriptors. The other limit comes
//! first: RLIMIT_NOFILE bounds what one user has on its way altogether (unix(7)), the files of letters included.
//!
//! 10,000 connections and 4,000 tunnels are 18,000 descriptors in 72 letters. Their records are 5.0 MB (about 130
//! bytes a connection, 900 a tunnel, twice the bytes that were read ahead on top), which belong to whoever reads them
//! last. Seen on two busy cores with an optimised build: sent in 0.17 to 0.31 s, read in 0.39 to 0.46 s, by processes
//! of 11 MB.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::control::Destination;
use super::mailbox::{self, Letter, Mailbox};
use super::record::{Parcel, Record, VERSION};
use super::sealed;

/// Descriptors of parcels in one letter, beside that of the memory file.
const MOST_FDS: usize = mailbox::MOST_FDS - 1;
/// A letter that has become so long gets no further parcel.
const LONG: usize = 32 * 1024 * 1024;
/// The longest letter: a parcel that needs more by itself cannot be sent. A reader allocates no more than this.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// What a datagram of a letter says by itself.
const HEADING: &[u8] = b"parcels";

/// The end that gives parcels away.
#[derive(Debug)]
pub struct Dispatch {
    mailbox: Mailbox,
    to: Destination,
}

/// Why parcels could not be given away, and those of them that are still ours, the refused ones included.
///
/// Towards a gateway: without a receipt, nobody knows whether it serves them until it is dead.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct Undelivered {
    pub error: Error,
    pub parcels: Vec<Parcel>,
}

/// Without the bytes of clients that are in the records.
impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} parcels", self.error, self.parcels.len())
    }
}

/// The end that takes them.
#[derive(Debug)]
pub struct Intake {
    mailbox: Mailbox,
    refused: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use the mailbox: {0}")]
    Socket(io::Error),
    #[error("the other end of the mailbox is closed")]
    Gone,
    #[error("the mailbox is full, and nobody reads it (net.core.wmem_default)")]
    Full,
    /// unix(7): those sent and not yet received, of all processes of this user together.
    #[error("too many descriptors are on their way (at most {} per user, by LimitNOFILE=)", .0.map_or("?".into(), |limit| limit.to_string()))]
    TooMany(Option<u64>),
    #[error("cannot read a receipt: {0}")]
    Receipt(String),
    #[error("refused a letter of version {0}: this is version {VERSION}")]
    Version(u32),
    #[error("refused a letter: {0}")]
    Letter(String),
}

impl Error {
    /// Nothing more can go over this mailbox.
    pub fn is_final(&self) -> bool {
        !matches!(self, Error::Version(_) | Error::Letter(_))
    }
}

/// What a letter says; of another version, only the first field.
#[derive(Serialize, Deserialize)]
struct Content<R> {
    version: u32,
    parcels: Vec<Item<R>>,
}

#[derive(Serialize, Deserialize)]
struct Item<R> {
    /// How many descriptors are this parcel's, in the order of the parcels.
    fds: usize,
    record: R,
}

/// The same in all versions.
#[derive(Default, Serialize, Deserialize)]
struct Receipt {
    /// Of letters that its sender understands.
    version: u32,
    /// Indices of parcels.
    #[serde(default)]
    refused: BTreeSet<usize>,
    #[serde(default)]
    all: bool,
}

impl Receipt {
    fn refuses(&self, index: usize) -> bool {
        self.all || self.refused.contains(&index)
    }
}

impl Dispatch {
    pub fn new(mailbox: Mailbox, to: Destination) -> Dispatch {
        Dispatch { mailbox, to }
    }

    /// Gives all parcels away, and has those back that were refused. Our copies of the others are closed.
    ///
    /// Not to be cancelled: the parcels would be closed, and the receipt would be taken for the next letter's.
    pub async fn send(&mut self, parcels: Vec<Parcel>) -> Result<Vec<Parcel>, Undelivered> {
        let mut left = VecDeque::from(parcels);
        let mut refused = Vec::new();
        while !left.is_empty() {
            let sent = match pack(&left, MOST_BYTES) {
                // Too large for any letter.
                Ok((0, _)) => Ok((1, Receipt { all: true, ..Receipt::default() })),
                Ok((count, content)) => {
                    let fds = left.iter().take(count).flat_map(|parcel| parcel.fds.iter().map(AsFd::as_fd));
                    self.letter(&content, fds.collect()).await.map(|receipt| (count, receipt))
                }
                Err(error) => Err(error),
            };
            match sent {
                Ok((count, receipt)) => {
                    let answered = left.drain(..count).enumerate();
                    refused.extend(
                        answered.filter(|(index, _)| receipt.refuses(*index)).map(|(_, parcel)| parcel),
                    );
                }
                Err(error) => {
                    refused.extend(left);
                    return Err(Undelivered { error, parcels: refused });
                }
            }
        }
        Ok(refused)
    }

    async fn letter(&self, content: &[u8], parcels: Vec<BorrowedFd<'_>>) -> Result<Receipt, Error> {
        let file = sealed::seal(c"hitless-letter", content).map_err(Error::Socket)?;
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(parcels).collect();
        match self.to {
            Destination::Store => {
                self.mailbox.try_send(HEADING, &fds).map_err(unsent)?;
                Ok(Receipt::default())
            }
            Destination::Gateway => {
                self.mailbox.send(HEADING, &fds).await.map_err(unsent)?;
                let answer = self.mailbox.receive().await.map_err(Error::Socket)?.ok_or(Error::Gone)?;
                serde_json::from_slice(&answer.content).map_err(|error| Error::Receipt(error.to_string()))
            }
        }
    }
}

/// The next letter: how many parcels go into it, and what it says. None when not even one does.
fn pack(parcels: &VecDeque<Parcel>, most_bytes: usize) -> Result<(usize, Vec<u8>), Error> {
    let mut content = format!(r#"{{"version":{VERSION},"parcels":["#).into_bytes();
    const END: &[u8] = b"]}";
    let (mut count, mut fds) = (0, 0);
    for parcel in parcels {
        fds += parcel.fds.len();
        if fds > MOST_FDS || content.len() > LONG {
            break;
        }
        let item = Item { fds: parcel.fds.len(), record: &parcel.record };
        let item = serde_json::to_vec(&item).map_err(|error| Error::Socket(error.into()))?;
        let comma = usize::from(count > 0);
        if content.len() + comma + item.len() + END.len() > most_bytes {
            break;
        }
        if count > 0 {
            content.push(b',');
        }
        content.extend(item);
        count += 1;
    }
    content.extend(END);
    Ok((count, content))
}

fn unsent(error: io::Error) -> Error {
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::AGAIN) => Error::Full,
        Some(rustix::io::Errno::TOOMANYREFS) => {
            Error::TooMany(rustix::process::getrlimit(rustix::process::Resource::Nofile).current)
        }
        _ if is_gone(&error) => Error::Gone,
        _ => Error::Socket(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected)
}

impl Intake {
    pub fn new(mailbox: Mailbox) -> Intake {
        Intake { mailbox, refused: 0 }
    }

    /// What can be adopted of the next letter, its receipt already sent; `None` when the other end is closed and
    /// all was read. After an error that is not final the next letter can be asked for. May be cancelled without
    /// losing one.
    pub async fn next(&mut self) -> Result<Option<Vec<Parcel>>, Error> {
        let (opened, descriptors) = match self.mailbox.receive().await {
            Ok(None) => return Ok(None),
            Ok(Some(letter)) => {
                let descriptors = letter.fds.len();
                (open(letter), descriptors)
            }
            // With the limit of open files reached, the kernel throws descriptors away.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                (Err(Error::Letter(format!("{error}, by its sender or by LimitNOFILE="))), 0)
            }
            Err(error) => return Err(Error::Socket(error)),
        };
        let parcels = match opened {
            Ok(parcels) => parcels,
            Err(error) => {
                // How many parcels it had is what could not be read; none has less than one descriptor.
                self.refused += descriptors.saturating_sub(1) as u64;
                self.answer(&Receipt { version: VERSION, all: true, ..Receipt::default() })?;
                return Err(error);
            }
        };
        let unknown =
            |(index, parcel): (usize, &Parcel)| matches!(parcel.record, Record::Unknown).then_some(index);
        let refused: BTreeSet<usize> = parcels.iter().enumerate().filter_map(unknown).collect();
        self.refused += refused.len() as u64;
        self.answer(&Receipt { version: VERSION, refused, all: false })?;
        Ok(Some(parcels.into_iter().filter(|parcel| !matches!(parcel.record, Record::Unknown)).collect()))
    }

    /// Takes no more letters than there are: whoever sends one from here on finds this end closed.
    pub fn end(&self) {
        // Also for every copy of this end.
        let _ = rustix::net::shutdown(&self.mailbox, rustix::net::Shutdown::Read);
    }

    /// How many parcels were refused so far. Of a letter that could not be read: at most so many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A sender that has gone needs none, and one that puts letters into the store reads none, also when it is still
    /// there: they may fill its queue.
    fn answer(&self, receipt: &Receipt) -> Result<(), Error> {
        let content = serde_json::to_vec(receipt).map_err(|error| Error::Socket(error.into()))?;
        match self.mailbox.try_send(&content, &[]) {
            Err(error) if !is_gone(&error) && error.kind() != io::ErrorKind::WouldBlock => {
                Err(Error::Socket(error))
            }
            _ => Ok(()),
        }
    }
}

/// All parcels of a letter, those of an unknown kind too.
fn open(letter: Letter) -> Result<Vec<Parcel>, Error> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let fault = |error: serde_json::Error| Error::Letter(format!("cannot read it: {error}"));

    let mut fds = letter.fds.into_iter();
    let file = fds.next().ok_or_else(|| Error::Letter("it has no descriptor".into()))?;
    let content = sealed::open(file, "file in it", MOST_BYTES as u64)
        .map_err(|error| Error::Letter(error.to_string()))?;
    // The version first: the rest of another version may not even have the same shape.
    let Version { version } = serde_json::from_slice(&content).map_err(fault)?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let content: Content<Record> = serde_json::from_slice(&content).map_err(fault)?;
    let said = content.parcels.iter().fold(0_usize, |sum, item| sum.saturating_add(item.fds));
    if said != fds.len() {
        return Err(Error::Letter(format!("it has {} descriptors of parcels, and says {said}", fds.len())));
    }
    let parcels = content.parcels.into_iter().enumerate().map(|(index, Item { fds: said, record })| {
        match record.descriptors() {
            Some(needed) if needed != said => Err(Error::Letter(format!(
                "parcel {index} has {said} descriptors, and its kind has {needed}"
            ))),
            _ => Ok(Parcel { record, fds: fds.by_ref().take(said).collect::<Vec<OwnedFd>>() }),
        }
    });
    parcels.collect()
}

#[cfg(test)]
mod tests;
