//! Files that change by themselves, such as certificates: what was accepted of them serves until something better comes.
//!
//! ```text
//!   files ─read─▶ contents ─check─▶ material ─▶ current       in a slot
//!                    └────────── fault: what serves stays, and it is said once
//! ```
//! Promises: what is [`Slot::current`] was checked whole; it changes at once for whoever asks next, and a lock is held for
//! that pointer only. The same fault is told once, until the files change again. Contents are wiped when they are dropped.
//! Must not know: what the files are good for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::config::settings::Place;
use crate::handover::secret::Secret;

/// No chain and no bundle of authorities is longer.
const LARGEST: u64 = 4 << 20;

/// What files can be checked to be.
pub(super) trait Material: Sized {
    /// Which of the files is for nobody else to read.
    const SECRET: Option<usize>;

    /// `contents` are those of `places`.
    fn check(places: &[Place], contents: &[Secret]) -> Result<Self, Fault>;

    /// Whether now is the time for it.
    fn timely(&self, _places: &[Place], _now: SystemTime) -> Result<(), Fault> {
        Ok(())
    }
}

/// Why files cannot be used: where, what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {found}; {remedy}")]
pub struct Fault {
    pub place: String,
    pub found: String,
    pub remedy: String,
    /// It may be sound: this process has no right to look.
    pub no_right: bool,
}

impl Fault {
    pub(super) fn new(place: &Place, found: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { place: place.to_string(), found: found.into(), remedy: remedy.into(), no_right: false }
    }
}

/// The contents that were accepted last, by the places of their files. It goes from process to process in memory only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept(Vec<(Vec<String>, Vec<Secret>)>);

impl Kept {
    pub(super) fn find(&self, places: &[Place]) -> Option<&[Secret]> {
        let places = names(places);
        self.0.iter().find(|(kept, _)| *kept == places).map(|(_, contents)| &contents[..])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn names(places: &[Place]) -> Vec<String> {
    places.iter().map(ToString::to_string).collect()
}

#[derive(Debug)]
pub(super) struct Slot<M> {
    places: Vec<Place>,
    current: RwLock<Arc<M>>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Of what was last read, good or bad.
    print: Print,
    /// What `current` was made from.
    contents: Vec<Secret>,
    /// Why what was last read is not in use.
    fault: Option<Fault>,
}

/// A digest of the contents, or the words for why they cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Print {
    Contents(Vec<u8>),
    Unreadable(String),
}

/// Where a [`Slot`] may look besides the disk.
pub(super) struct Sources<'a, M> {
    /// What serves.
    pub before: Option<&'a Slot<M>>,
    /// What served in another process.
    pub kept: &'a Kept,
    pub now: SystemTime,
    /// Take what has only the time against it, for want of anything else.
    pub at_start: bool,
}

impl<M: Material> Slot<M> {
    /// From the files, or else with what serves, or served, and the fault that the files have.
    pub fn open(places: Vec<Place>, sources: &Sources<'_, M>) -> Result<Slot<M>, Fault> {
        let read = read(&places, M::SECRET);
        let print = print(&read);
        let slot = |current, contents, fault| {
            let known = Mutex::new(Known { print, contents, fault });
            Slot { places: places.clone(), current: RwLock::new(current), known }
        };
        let (fault, untimely) = match read.and_then(|contents| Ok((M::check(&places, &contents)?, contents)))
        {
            Ok((material, contents)) => match material.timely(&places, sources.now) {
                Ok(()) => return Ok(slot(Arc::new(material), contents, None)),
                Err(fault) => (fault, Some((material, contents))),
            },
            Err(fault) => (fault, None),
        };
        if let Some(before) = sources.before {
            return Ok(slot(before.current(), before.contents(), Some(fault)));
        }
        // What served may have expired meanwhile, and is still better than nothing.
        let kept = sources
            .kept
            .find(&places)
            .and_then(|contents| Some((M::check(&places, contents).ok()?, contents.to_vec())));
        match kept.or(untimely.filter(|_| sources.at_start)) {
            Some((material, contents)) => Ok(slot(Arc::new(material), contents, Some(fault))),
            None => Err(fault),
        }
    }

    /// Reads the files again: `None` when there is nothing new to say of them.
    pub fn refresh(&self, now: SystemTime) -> Option<Result<Arc<M>, Fault>> {
        let read = read(&self.places, M::SECRET);
        let print = print(&read);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = known.print != print;
        if !changed && known.fault.is_none() {
            return None;
        }
        known.print = print;
        let checked = read.and_then(|contents| {
            let material = M::check(&self.places, &contents)?;
            material.timely(&self.places, now)?;
            Ok((material, contents))
        });
        match checked {
            Ok((material, contents)) => {
                let material = Arc::new(material);
                known.contents = contents;
                known.fault = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&material);
                Some(Ok(material))
            }
            Err(fault) => {
                let told = !changed && known.fault.as_ref() == Some(&fault);
                known.fault = Some(fault.clone());
                (!told).then_some(Err(fault))
            }
        }
    }

    pub fn current(&self) -> Arc<M> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the files are not what serves.
    pub fn fault(&self) -> Option<Fault> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).fault.clone()
    }

    pub fn places(&self) -> &[Place] {
        &self.places
    }

    pub fn keep(&self, kept: &mut Kept) {
        kept.0.push((names(&self.places), self.contents()));
    }

    fn contents(&self) -> Vec<Secret> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contents.clone()
    }
}

fn read(places: &[Place], secret: Option<usize>) -> Result<Vec<Secret>, Fault> {
    let each = places.iter().enumerate();
    each.map(|(index, place)| read_one(place, secret == Some(index))).collect()
}

fn print(read: &Result<Vec<Secret>, Fault>) -> Print {
    match read {
        Ok(contents) => {
            let each = contents
                .iter()
                .flat_map(|content| digest::digest(&digest::SHA256, content).as_ref().to_vec());
            Print::Contents(each.collect())
        }
        Err(fault) => Print::Unreadable(fault.to_string()),
    }
}

/// Where a place is on this system; `None` of a credential when none was passed.
pub(super) fn path(place: &Place) -> Option<PathBuf> {
    match place {
        Place::File(path) => Some(path.clone()),
        Place::Credential(name) => Some(PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name)),
    }
}

fn read_one(place: &Place, secret: bool) -> Result<Secret, Fault> {
    let Some(path) = path(place) else { return Err(no_such(place)) };
    let cannot = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => no_such(place),
        io::ErrorKind::PermissionDenied => Fault {
            no_right: true,
            ..Fault::new(
                place,
                "cannot read the file: permission denied",
                "let the user of hitless read it, or pass it with LoadCredential= of the unit",
            )
        },
        _ => Fault::new(place, format!("cannot read the file: {}", cause(error)), "make it readable"),
    };
    // Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let file = file.map_err(|error| cannot(&error))?;
    let metadata = file.metadata().map_err(|error| cannot(&error))?;
    if !metadata.is_file() {
        return Err(Fault::new(place, "found something else than a file", "write the path of the file"));
    }
    if secret && matches!(place, Place::File(_)) {
        private(place, &metadata)?;
    }
    if metadata.len() > LARGEST {
        return Err(Fault::new(place, "the file is too big", "write the path of a file in PEM"));
    }
    let mut content = zeroize::Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(LARGEST).read_to_end(&mut content).map_err(|error| cannot(&error))?;
    Ok(Secret::from(&content[..]))
}

fn no_such(place: &Place) -> Fault {
    match place {
        Place::File(_) => {
            Fault::new(place, "cannot read the file: no such file", "create it, or correct the path")
        }
        Place::Credential(name) => Fault {
            // Only the unit's own processes have any.
            no_right: std::env::var_os("CREDENTIALS_DIRECTORY").is_none(),
            ..Fault::new(
                place,
                "no credential of this name was passed to this process",
                format!("write LoadCredential={name}:/path in the unit, and restart"),
            )
        },
    }
}

/// Refuses a file that others can read (inode(7)).
fn private(place: &Place, metadata: &std::fs::Metadata) -> Result<(), Fault> {
    let mode = metadata.mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(Fault::new(
            place,
            format!("every user of this system can read the key (mode {mode:04o})"),
            format!("chmod o= {place}, and have it made so"),
        ));
    }
    let group = metadata.gid();
    // Whoever checks as root cannot know the groups of the daemon.
    let ours = || {
        let own = rustix::process::getegid().as_raw();
        let others = rustix::process::getgroups().unwrap_or_default();
        rustix::process::geteuid().is_root() || own == group || others.iter().any(|gid| gid.as_raw() == group)
    };
    if mode & 0o070 != 0 && group != 0 && !ours() {
        return Err(Fault::new(
            place,
            format!("the key is open to group {group}, which is not that of hitless (mode {mode:04o})"),
            format!("chmod g= {place}, or chgrp hitless {place}"),
        ));
    }
    Ok(())
}

/// The system's words for an error, without its number.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
