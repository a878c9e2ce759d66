//! The one who looks for the moment when an application that is away takes connections again.
//!
//! Promises: one for each service, as long as somebody waits, however many do; it connects and says nothing. Between two
//! attempts it waits for what may bring news (the unit's state, a socket made in the folder of a Unix endpoint)
//! and otherwise for a time that grows from 10 to 250 ms, give or take a quarter: for a port there is no event.
//! Must not know: who waits, or HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::super::dial;
use super::{Held, Reason};
use crate::config::settings::Address;

const FIRST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_millis(250);
/// A connection that is neither made nor refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// Until an endpoint takes a connection, or nobody waits any more.
pub async fn probe(held: Arc<Held>, endpoints: Vec<Address>) {
    let _over = Over(&held);
    let news = Arc::new(Notify::new());
    let _folders = watch(&endpoints, &news);
    let mut pause = FIRST;
    let mut epoch = held.epoch();
    loop {
        let jitter = 0.75 + fastrand::f64() / 2.0;
        let _ = tokio::time::timeout(pause.mul_f64(jitter), news.notified()).await;
        let now = held.epoch();
        if now != epoch {
            (epoch, pause) = (now, FIRST);
        } else {
            pause = (pause * 2).min(MOST);
        }
        if held.survey().now == 0 {
            return;
        }
        // As long as its unit does not run there is nobody to ask.
        if held.is_closed_for(Reason::Unit) {
            pause = FIRST;
            continue;
        }
        for endpoint in &endpoints {
            let connected = tokio::time::timeout(PATIENCE, dial::connect_to(endpoint)).await;
            if matches!(connected, Ok(Ok(_))) {
                held.back();
                return;
            }
        }
    }
}

/// Also when its thread ends: those who wait must not wait for nobody.
struct Over<'a>(&'a Held);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if self.0.is_closed_for(Reason::Away) {
            self.0.give_up_probing();
        }
    }
}

/// The folders of Unix sockets. Without a watch there is still the time.
fn watch(endpoints: &[Address], news: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let folder = |address: &Address| match address {
        Address::Unix(path) => path.parent().filter(|folder| folder.is_dir()).map(Path::to_owned),
        _ => None,
    };
    let folders: Vec<PathBuf> = endpoints.iter().filter_map(folder).collect();
    if folders.is_empty() {
        return None;
    }
    let news = Arc::clone(news);
    let mut watcher = notify::recommended_watcher(move |_| news.notify_one()).ok()?;
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    }
    Some(watcher)
}
