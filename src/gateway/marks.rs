//! What was held and drained by hand: a folder of marks beside the admin socket.
//!
//! ```text
//!   /run/hitless/held/shop            hitless hold shop
//!   /run/hitless/held/shop@drain      hitless drain shop
//!   /run/hitless/held/shop@drain-…    hitless drain shop --endpoint …, which is in the file
//! ```
//! Promises: a mark holds for every gateway: for the one that serves, for those that finish what they have, for the next
//! one after a crash or a restart; each notices when one comes or goes. Drains are forgotten when the keeper begins, since
//! what ends them may have happened meanwhile. Where there is no folder they hold for this gateway, which says so.
//! Must not know: what a mark means to a request.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};

/// More than anybody marks.
const MOST: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Hold(String),
    Drain(String),
    /// With the endpoint's name.
    DrainEndpoint(String, String),
}

pub struct Marks {
    folder: PathBuf,
    set: BTreeSet<Mark>,
    told: bool,
    _watcher: Option<RecommendedWatcher>,
}

impl Mark {
    pub fn service(&self) -> &str {
        match self {
            Mark::Hold(service) | Mark::Drain(service) | Mark::DrainEndpoint(service, _) => service,
        }
    }

    fn file(&self) -> String {
        match self {
            Mark::Hold(service) => service.clone(),
            Mark::Drain(service) => format!("{service}@drain"),
            Mark::DrainEndpoint(service, endpoint) => {
                let digest = Sha256::digest(endpoint.as_bytes());
                let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
                format!("{service}@drain-{short}")
            }
        }
    }

    fn read(path: &Path) -> Option<Mark> {
        let name = path.file_name()?.to_str()?;
        match name.split_once('@') {
            None => Some(Mark::Hold(name.to_owned())),
            Some((service, "drain")) => Some(Mark::Drain(service.to_owned())),
            Some((service, rest)) if rest.starts_with("drain-") => {
                let endpoint = fs::read_to_string(path).ok()?;
                let mark = Mark::DrainEndpoint(service.to_owned(), endpoint.trim_end().to_owned());
                // Half written, it is read again when it is whole.
                (mark.file() == name).then_some(mark)
            }
            Some(_) => None,
        }
    }
}

impl Marks {
    /// Beside this socket. `first`: the keeper has begun with this gateway. `touched` is called on a thread of its own.
    pub fn open(socket: &Path, first: bool, touched: impl Fn() + Send + 'static) -> Marks {
        let folder = socket.parent().unwrap_or(Path::new("/")).join("held");
        let mut marks = Marks { folder, set: BTreeSet::new(), told: false, _watcher: None };
        let watched = fs::create_dir_all(&marks.folder).map_err(notify::Error::io).and_then(|()| {
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if !event.is_ok_and(|event| event.kind.is_access()) {
                    touched();
                }
            })?;
            watcher.watch(&marks.folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watched {
            Ok(watcher) => marks._watcher = Some(watcher),
            Err(error) => tracing::warn!(
                "cannot keep what is held by hand in '{}': {error}; it holds for this gateway process only",
                marks.folder.display()
            ),
        }
        if first {
            for mark in marks.read() {
                if !matches!(mark, Mark::Hold(_)) {
                    let _ = fs::remove_file(marks.folder.join(mark.file()));
                }
            }
        }
        marks
    }

    pub fn all(&self) -> impl Iterator<Item = &Mark> {
        self.set.iter()
    }

    /// Looks at the folder again; what has changed there.
    pub fn look(&mut self) -> (Vec<Mark>, Vec<Mark>) {
        if self._watcher.is_none() {
            return (self.set.iter().cloned().collect(), vec![]);
        }
        let now = self.read();
        let gone = self.set.difference(&now).cloned().collect();
        self.set = now;
        (self.set.iter().cloned().collect(), gone)
    }

    pub fn put(&mut self, mark: Mark) {
        let text = match &mark {
            Mark::DrainEndpoint(_, endpoint) => format!("{endpoint}\n"),
            _ => String::new(),
        };
        let done = fs::write(self.folder.join(mark.file()), text);
        self.tell(done);
        self.set.insert(mark);
    }

    pub fn remove(&mut self, mark: &Mark) {
        match fs::remove_file(self.folder.join(mark.file())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => self.tell(done),
        }
        self.set.remove(mark);
    }

    fn tell(&mut self, done: io::Result<()>) {
        if let Err(error) = done
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(
                "cannot write to '{}': {error}; it holds for this gateway only",
                self.folder.display()
            );
        }
    }

    fn read(&self) -> BTreeSet<Mark> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().take(MOST);
        entries.filter_map(|entry| Mark::read(&entry.path())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn marks_are_seen_by_others_and_drains_end_with_the_keeper() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let (touched, touches) = mpsc::channel();
        let mut one = Marks::open(&socket, true, || {});
        let mut other = Marks::open(&socket, false, move || _ = touched.send(()));
        let marks = [
            Mark::Hold("shop".into()),
            Mark::Drain("shop".into()),
            Mark::DrainEndpoint("shop".into(), "unix:/run/x.sock".into()),
        ];
        marks.iter().for_each(|mark| one.put(mark.clone()));
        while other.look().0.len() < 3 {
            touches.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        }
        one.remove(&marks[1]);
        while other.look().1 != [marks[1].clone()] {
            touches.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        }
        let mut next = Marks::open(&socket, true, || {});
        assert_eq!(next.look().0, [marks[0].clone()]);
    }
}
