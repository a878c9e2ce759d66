//! How often each POST id was received: what tells a request that somebody sent twice.
//!
//! Promises: an id counts when the request's head has come, whatever becomes of the answer. With a file they are remembered
//! by the next process too, however this one ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

#[derive(Default)]
pub struct Posts(Mutex<BTreeMap<String, u64>>, Option<Mutex<File>>);

/// What `GET /posts` answers.
#[derive(Serialize)]
pub struct Received {
    /// Requests, duplicates included.
    pub total: u64,
    /// Ids received more than once, and how often.
    pub duplicates: BTreeMap<String, u64>,
    /// Every id and how often it came; only when asked for by `prefix`, for a client that adds up several endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<BTreeMap<String, u64>>,
}

impl Posts {
    /// What this file knows, and more from now on: a line for each.
    pub fn remembered(path: &Path) -> io::Result<Posts> {
        let file = File::options().read(true).append(true).create(true).open(path)?;
        let mut known = BTreeMap::new();
        for id in BufReader::new(&file).lines() {
            *known.entry(id?).or_default() += 1;
        }
        Ok(Posts(Mutex::new(known), Some(Mutex::new(file))))
    }

    /// How often this id has come now.
    pub fn count(&self, id: &str) -> u64 {
        if let Some(file) = &self.1 {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // One that cannot be remembered is still counted.
            let _ = file.write_all(format!("{id}\n").as_bytes());
        }
        let mut posts = self.lock();
        let times = posts.entry(id.to_owned()).or_default();
        *times += 1;
        *times
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Those whose id begins with `prefix`; all without one.
    pub fn received(&self, prefix: Option<&str>) -> Received {
        let posts = self.lock();
        let chosen = posts.iter().filter(|(id, _)| id.starts_with(prefix.unwrap_or("")));
        let ids: BTreeMap<String, u64> = chosen.map(|(id, times)| (id.clone(), *times)).collect();
        Received {
            total: ids.values().sum(),
            duplicates: ids.iter().filter(|(_, times)| **times > 1).map(|(id, n)| (id.clone(), *n)).collect(),
            ids: prefix.is_some().then_some(ids),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_came_twice_is_a_duplicate_and_ids_are_listed_only_when_asked_for() {
        let posts = Posts::default();
        assert_eq!(
            [posts.count("a-1"), posts.count("a-2"), posts.count("a-1"), posts.count("b-1")],
            [1, 1, 2, 1]
        );
        let all = posts.received(None);
        assert_eq!((all.total, all.duplicates["a-1"], all.duplicates.len()), (4, 2, 1));
        assert!(all.ids.is_none());
        assert_eq!(posts.received(Some("b-")).ids.unwrap().len(), 1);
        posts.clear();
        assert_eq!(posts.received(None).total, 0);
    }
}
