//! The things alive on one data thread that have to be found again: connections, requests.
//!
//! Promises: inserting and removing cost the same however many there are, and a visitor may make
//! any of them leave while it visits.
//! Must not know: what it holds.

use std::cell::RefCell;
use std::rc::Rc;

/// Shared owners under small reusable keys.
pub(super) struct Registry<T> {
    slots: RefCell<Slots<T>>,
}

struct Slots<T> {
    entries: Vec<Option<Rc<T>>>,
    free: Vec<usize>,
}

impl<T> Registry<T> {
    pub(super) fn new() -> Registry<T> {
        Registry { slots: RefCell::new(Slots { entries: Vec::new(), free: Vec::new() }) }
    }

    /// The key is good until [`Registry::remove`].
    pub(super) fn insert(&self, entry: Rc<T>) -> usize {
        let mut slots = self.slots.borrow_mut();
        if let Some(key) = slots.free.pop() {
            slots.entries[key] = Some(entry);
            return key;
        }
        slots.entries.push(Some(entry));
        slots.entries.len() - 1
    }

    pub(super) fn remove(&self, key: usize) {
        let mut slots = self.slots.borrow_mut();
        let removed = slots.entries.get_mut(key).and_then(Option::take);
        if removed.is_some() {
            slots.free.push(key);
        }
        slots.give_back_memory();
        drop(slots);
        drop(removed);
    }

    pub(super) fn is_empty(&self) -> bool {
        let slots = self.slots.borrow();
        slots.entries.len() == slots.free.len()
    }

    /// Calls `visit` with each of them. They are not borrowed meanwhile.
    pub(super) fn each(&self, visit: impl FnMut(&Rc<T>)) {
        self.some(0, usize::MAX, visit);
    }

    /// The same with those under `count` keys from `first` on; where to go on, `None` at the end.
    pub(super) fn some(&self, first: usize, count: usize, mut visit: impl FnMut(&Rc<T>)) -> Option<usize> {
        let end = first.saturating_add(count);
        for key in first..end {
            let entry = self.slots.borrow().entries.get(key)?.clone();
            if let Some(entry) = entry {
                visit(&entry);
            }
        }
        Some(end)
    }
}

impl<T> Slots<T> {
    /// A crowd that has left leaves no memory behind.
    fn give_back_memory(&mut self) {
        if self.entries.len() > 64 && self.entries.len() == self.free.len() {
            self.entries = Vec::new();
            self.free = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_used_again_and_the_others_stay_where_they_are() {
        let registry = Registry::new();
        let one = registry.insert(Rc::new(1));
        let two = registry.insert(Rc::new(2));
        registry.remove(one);
        assert_eq!(registry.insert(Rc::new(3)), one);
        let mut seen = Vec::new();
        registry.each(|entry| seen.push(**entry));
        assert_eq!(seen, [3, 2]);
        registry.remove(one);
        registry.remove(two);
        registry.remove(two);
        assert!(registry.is_empty());
    }

    #[test]
    fn some_at_a_time_are_all_of_them() {
        let registry = Registry::new();
        for number in 0..10 {
            registry.insert(Rc::new(number));
        }
        registry.remove(4);
        let (mut seen, mut next, mut turns) = (Vec::new(), Some(0), 0);
        while let Some(first) = next {
            next = registry.some(first, 4, |entry| seen.push(**entry));
            turns += 1;
        }
        assert_eq!((seen, turns), (vec![0, 1, 2, 3, 5, 6, 7, 8, 9], 3));
    }

    #[test]
    fn a_visitor_may_remove_what_it_visits_and_what_it_has_not_seen_yet() {
        let registry = Registry::new();
        for number in 0..4 {
            registry.insert(Rc::new(number));
        }
        let mut seen = Vec::new();
        registry.each(|entry| {
            seen.push(**entry);
            registry.remove(**entry);
            registry.remove(3);
        });
        assert_eq!(seen, [0, 1, 2]);
        assert!(registry.is_empty());
    }
}
