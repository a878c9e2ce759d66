//! The dynamic table of a decoder (RFC 7541, sections 2.3.2 and 4).
//!
//! Promises: never more than its capacity, by the RFC's count.
//! Must not know: how it is addressed.

use std::collections::VecDeque;

use super::field::Field;

#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    field: Field,
    size: usize,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Table {
        Table { entries: VecDeque::new(), size: 0, capacity }
    }

    /// With its size.
    pub(super) fn get(&self, index: usize) -> Option<(&Field, usize)> {
        self.entries.get(index).map(|entry| (&entry.field, entry.size))
    }

    /// One that is larger than everything empties the table (section 4.4).
    pub(super) fn insert(&mut self, field: Field, size: usize) {
        self.evict(self.capacity.saturating_sub(size));
        if size <= self.capacity {
            self.size += size;
            self.entries.push_front(Entry { field, size });
        }
    }

    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.evict(capacity);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }

    #[cfg(test)]
    pub(super) fn contents(&self) -> (usize, usize) {
        (self.entries.len(), self.size)
    }
}
