//! Notices when files of certificates may have changed, however they are replaced.
//!
//! ```text
//!   live/shop.pem ─link─▶ ../archive/shop3.pem        a trail: each link on the way, and the file at its end
//!   tls.crt ─link─▶ ..data/tls.crt, ..data ─link─▶ ..2026_11
//! ```
//! Promises: says so when the trail of a file was touched and has been quiet for a moment, or was touched for long;
//! other files of the same folders do not matter. The folders are watched, not the files, because whoever renews
//! certificates replaces files and links.
//! Must not know: whether the content differs; [`super::Directory::refresh`] looks.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::material::path;
use crate::config::settings::Place;

/// A chain and its key are written one after the other.
const QUIET: Duration = Duration::from_millis(200);
/// Files that are touched all the time are looked at all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// As many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// Watches until it is dropped.
pub struct Watch {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Calls `changed` on this thread after each change. Needs a local tokio runtime.
    pub fn begin(places: &[Place], changed: impl Fn() + 'static) -> notify::Result<Watch> {
        let paths: Vec<PathBuf> = places.iter().filter_map(path).collect();
        let mut sight = Sight::of(&paths)?;
        let task = tokio::task::spawn_local(async move {
            while sight.touched().await {
                changed();
                // Links may lead elsewhere now. What happens in between is seen by one of the two.
                match Sight::of(&paths) {
                    Ok(next) => {
                        if next.trail != sight.trail {
                            changed();
                        }
                        sight = next;
                    }
                    Err(error) => {
                        return tracing::warn!(
                            "cannot watch certificates any more: {error}, looking at them hourly and at each reload"
                        );
                    }
                }
            }
        });
        Ok(Watch { task })
    }
}

/// A folder and a name in it.
type Step = (PathBuf, OsString);

struct Sight {
    trail: BTreeSet<Step>,
    touches: mpsc::UnboundedReceiver<notify::Result<notify::Event>>,
    _watcher: RecommendedWatcher,
}

impl Sight {
    fn of(paths: &[PathBuf]) -> notify::Result<Sight> {
        let (touched, touches) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event| {
            // Called on a thread of the notify crate; the receiver is gone only at the end.
            let _ = touched.send(event);
        })?;
        let trail: BTreeSet<Step> = paths.iter().flat_map(|path| trail(path)).collect();
        let folders: BTreeSet<&Path> = trail.iter().map(|(folder, _)| folder.as_path()).collect();
        for folder in folders {
            // One that is gone again is the next one's change.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if !matches!(error.kind, notify::ErrorKind::PathNotFound) && folder.exists() => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(Sight { trail, touches, _watcher: watcher })
    }

    /// False when nothing more will be noticed.
    async fn touched(&mut self) -> bool {
        loop {
            let Some(touch) = self.touches.recv().await else { return false };
            if self.matters(&touch) {
                break;
            }
        }
        let last = Instant::now() + PATIENCE;
        let mut quiet = Instant::now() + QUIET;
        // Each further touch begins the quiet time again; what else happens in the folders does not.
        while let Ok(Some(touch)) = tokio::time::timeout_at(quiet.min(last).into(), self.touches.recv()).await
        {
            if self.matters(&touch) {
                quiet = Instant::now() + QUIET;
            }
        }
        true
    }

    fn matters(&self, touch: &notify::Result<notify::Event>) -> bool {
        let Ok(event) = touch else {
            // The kernel's queue overflowed: what was lost may have mattered.
            return true;
        };
        let is_on_trail = |path: &PathBuf| {
            let step = path.parent().zip(path.file_name());
            // The second is a folder itself, which was moved or removed.
            step.is_some_and(|(folder, name)| self.trail.contains(&(folder.to_owned(), name.to_owned())))
                || self.trail.iter().any(|(folder, _)| folder == path)
        };
        !matches!(event.kind, EventKind::Access(_))
            && (event.need_rescan() || event.paths.iter().any(is_on_trail))
    }
}

/// Every link on the way to a file, and the file itself; or the first thing on the way that does not exist.
fn trail(path: &Path) -> Vec<Step> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut ahead: Vec<OsString> = parts(&absolute);
    let mut reached = PathBuf::from("/");
    let mut trail = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        match next.symlink_metadata() {
            Ok(found) if found.is_symlink() && links < LINKS => {
                links += 1;
                trail.push((reached.clone(), name));
                let Ok(to) = next.read_link() else { break };
                if to.is_absolute() {
                    reached = PathBuf::from("/");
                }
                ahead.extend(parts(&to));
            }
            Ok(found) if found.is_dir() => reached = next,
            _ => {
                trail.push((reached.clone(), name));
                break;
            }
        }
    }
    trail
}

/// The last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_trail_has_every_link_and_the_file_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(at.join("..2026_11")).unwrap();
        fs::write(at.join("..2026_11/tls.crt"), "").unwrap();
        symlink("..2026_11", at.join("..data")).unwrap();
        symlink("..data/tls.crt", at.join("tls.crt")).unwrap();
        let step = |folder: PathBuf, name: &str| (folder, OsString::from(name));
        assert_eq!(
            trail(&at.join("tls.crt")),
            [step(at.clone(), "tls.crt"), step(at.clone(), "..data"), step(at.join("..2026_11"), "tls.crt")]
        );
        assert_eq!(trail(&at.join("none/x.pem")), [step(at.clone(), "none")]);
        symlink("loop", at.join("loop")).unwrap();
        assert!(trail(&at.join("loop")).len() <= LINKS + 1);
    }

    /// Runs `change`, and waits until it is noticed.
    fn notices(places: &[PathBuf], change: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let (changed, mut changes) = mpsc::unbounded_channel();
            let places: Vec<Place> = places.iter().cloned().map(Place::File).collect();
            let _watch = Watch::begin(&places, move || _ = changed.send(())).unwrap();
            change();
            tokio::time::timeout(Duration::from_secs(60), changes.recv()).await.unwrap().unwrap();
        });
    }

    #[test]
    fn a_file_is_noticed_however_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let file = at.join("x.pem");
        notices(std::slice::from_ref(&file), || fs::write(&file, "made").unwrap());
        notices(std::slice::from_ref(&file), || fs::write(&file, "written over").unwrap());
        notices(std::slice::from_ref(&file), || {
            fs::write(at.join("new"), "renamed").unwrap();
            fs::rename(at.join("new"), &file).unwrap();
        });
        notices(std::slice::from_ref(&file), || fs::remove_file(&file).unwrap());
        // As certbot has it.
        for folder in ["archive", "live"] {
            fs::create_dir(at.join(folder)).unwrap();
        }
        for number in ["1", "2"] {
            fs::write(at.join("archive").join(number), number).unwrap();
        }
        symlink("../archive/1", at.join("live/x.pem")).unwrap();
        notices(&[at.join("live/x.pem")], || {
            symlink("../archive/2", at.join("live/new")).unwrap();
            fs::rename(at.join("live/new"), at.join("live/x.pem")).unwrap();
        });
        notices(&[at.join("live/x.pem")], || fs::write(at.join("archive/2"), "3").unwrap());
        // As Kubernetes has it.
        for (number, name) in ["1", "2"].iter().zip(["..one", "..two"]) {
            fs::create_dir(at.join(name)).unwrap();
            fs::write(at.join(name).join("tls.crt"), number).unwrap();
        }
        symlink("..one", at.join("..data")).unwrap();
        symlink("..data/tls.crt", at.join("tls.crt")).unwrap();
        notices(&[at.join("tls.crt")], || {
            symlink("..two", at.join("..new")).unwrap();
            fs::rename(at.join("..new"), at.join("..data")).unwrap();
        });
        // A folder that is there later.
        notices(&[at.join("later/x.pem")], || fs::create_dir(at.join("later")).unwrap());
    }

    #[test]
    fn other_files_of_the_folder_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let sight = Sight::of(&[folder.path().join("x.pem")]).unwrap();
        let at = fs::canonicalize(folder.path()).unwrap();
        let event = |name: &str| Ok(notify::Event::new(EventKind::Any).add_path(at.join(name)));
        assert!(sight.matters(&event("x.pem")) && !sight.matters(&event("other.log")));
        let read = notify::Event::new(EventKind::Access(notify::event::AccessKind::Any));
        assert!(!sight.matters(&Ok(read.add_path(at.join("x.pem")))));
        assert!(sight.matters(&Err(notify::Error::generic("overflow"))));
    }
}
