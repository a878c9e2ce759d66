//! Notices when the configuration files have changed (`daemon.reload = "on-change"`).
//!
//! Promises: says so once, when the files have been quiet for a moment, and only when something
//! that is read as configuration was touched: our own log or an editor's swap file in the same
//! folder is not. The folders are watched, not the files, because editors and packages replace files.
//! Must not know: whether the content differs; that is compared by whoever reads it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Several files of one change, or one file written in pieces, are one change.
const QUIET: Duration = Duration::from_millis(200);

/// Watches until it is dropped.
pub struct Changes {
    _watcher: RecommendedWatcher,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    /// Calls `changed` on this thread after each change. Needs a local tokio runtime.
    pub fn watch(directory: &Path, changed: impl Fn() + 'static) -> notify::Result<Changes> {
        let (touched, touches) = mpsc::unbounded_channel();
        let services = directory.join("services.d");
        let mut watcher = notify::recommended_watcher(move |event| {
            // Called on a thread of the notify crate; the receiver is gone only at the end.
            let _ = touched.send(event);
        })?;
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        // It may be created later: that is a touch of the directory.
        let _ = watcher.watch(&services, RecursiveMode::NonRecursive);
        let task = tokio::task::spawn_local(wait_for_quiet(touches, directory.to_owned(), changed));
        Ok(Changes { _watcher: watcher, task })
    }
}

type Touches = mpsc::UnboundedReceiver<notify::Result<notify::Event>>;

async fn wait_for_quiet(mut touches: Touches, directory: PathBuf, changed: impl Fn()) {
    while let Some(touch) = touches.recv().await {
        if !matters(&touch, &directory) {
            continue;
        }
        // Each further touch begins the quiet time again.
        while let Ok(Some(_)) = tokio::time::timeout(QUIET, touches.recv()).await {}
        changed();
    }
}

fn matters(touch: &notify::Result<notify::Event>, directory: &Path) -> bool {
    let Ok(event) = touch else {
        // The kernel's queue overflowed: what was lost may have mattered.
        return true;
    };
    !matches!(event.kind, EventKind::Access(_))
        && (event.need_rescan() || event.paths.iter().any(|path| is_configuration(path, directory)))
}

fn is_configuration(path: &Path, directory: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let services = directory.join("services.d");
    path == services || (!hidden && path.extension().is_some_and(|extension| extension == "toml"))
}
