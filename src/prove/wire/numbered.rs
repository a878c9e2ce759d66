//! Messages that carry their number, and a reader that notices what became of them.
//!
//! Each end of a tunnel numbers what it sends, from 0, and holds what it receives against [`Order`]. An answering
//! end puts what it has noticed so far into every message, so the asking end knows the faults of both directions.
//! Promises: a message counts as missing from the moment a later one has come; one that comes after all was
//! reordered, and is no longer missing; one that comes again is doubled.
//! Must not know: frames, sockets.

use std::collections::BTreeSet;

/// More missing numbers than this are counted, but one that still comes is then taken for doubled.
const REMEMBERED: usize = 4_096;

/// What became of the messages of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub missing: u64,
    pub doubled: u64,
    pub reordered: u64,
    /// Came with other content than was sent, or with no number at all.
    pub changed: u64,
}

/// The numbers of one direction, as they come.
#[derive(Debug, Default)]
pub struct Order {
    /// The lowest number that is higher than all that came.
    next: u64,
    missing: BTreeSet<u64>,
    pub faults: Faults,
}

/// A message of the answering end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its own number.
    pub number: u64,
    /// What the answering end has noticed so far.
    pub noticed: Faults,
    /// The message that is answered; empty when the answering end speaks of its own accord.
    pub answered: &'a str,
}

impl Order {
    pub fn came(&mut self, number: u64) {
        if number >= self.next {
            let skipped = self.next..number;
            self.faults.missing += number - self.next;
            self.missing.extend(skipped.take(REMEMBERED.saturating_sub(self.missing.len())));
            self.next = number + 1;
        } else if self.missing.remove(&number) {
            self.faults.missing -= 1;
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
        }
    }

    /// How many numbers there are up to the highest that came.
    pub fn reached(&self) -> u64 {
        self.next
    }
}

impl Faults {
    pub fn sum(self) -> u64 {
        self.missing + self.doubled + self.reordered + self.changed
    }

    pub fn and(self, other: Faults) -> Faults {
        Faults {
            missing: self.missing + other.missing,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            changed: self.changed + other.changed,
        }
    }
}

impl Answer<'_> {
    pub fn text(&self) -> String {
        let Faults { missing, doubled, reordered, changed } = self.noticed;
        format!("{} {missing} {doubled} {reordered} {changed} {}", self.number, self.answered)
    }

    /// `None` when it is no such message.
    pub fn read(payload: &[u8]) -> Option<Answer<'_>> {
        let mut words = std::str::from_utf8(payload).ok()?.splitn(6, ' ');
        let mut number = || words.next()?.parse().ok();
        let (own, missing, doubled) = (number()?, number()?, number()?);
        let (reordered, changed) = (number()?, number()?);
        let noticed = Faults { missing, doubled, reordered, changed };
        Some(Answer { number: own, noticed, answered: words.next()? })
    }
}

/// The number in front of a message of the asking end.
pub fn number(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(numbers: &[u64]) -> (u64, u64, u64) {
        let mut order = Order::default();
        numbers.iter().for_each(|number| order.came(*number));
        (order.faults.missing, order.faults.doubled, order.faults.reordered)
    }

    #[test]
    fn what_is_missing_doubled_and_reordered_is_told_apart() {
        assert_eq!(faults(&[0, 1, 2, 3]), (0, 0, 0));
        assert_eq!(faults(&[0, 3]), (2, 0, 0));
        assert_eq!(faults(&[0, 1, 1, 2]), (0, 1, 0));
        assert_eq!(faults(&[0, 2, 1, 3]), (0, 0, 1));
        assert_eq!(faults(&[0, 2, 1, 1, 5]), (2, 1, 1));
        assert_eq!(faults(&[2]), (2, 0, 0), "the first ones too");
    }

    #[test]
    fn many_missing_ones_are_counted_without_being_remembered_one_by_one() {
        let mut order = Order::default();
        order.came(1_000_000_000);
        assert_eq!((order.faults.missing, order.missing.len()), (1_000_000_000, REMEMBERED));
        order.came(0);
        assert_eq!((order.faults.missing, order.faults.reordered), (999_999_999, 1));
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let noticed = Faults { missing: 1, doubled: 2, reordered: 3, changed: 4 };
        for answered in ["", "7 a message with spaces"] {
            let answer = Answer { number: 12, noticed, answered };
            assert_eq!(Answer::read(answer.text().as_bytes()), Some(answer));
        }
        assert_eq!(Answer::read(b"7 a message"), None);
        assert_eq!(number(b"7 a message"), Some(7));
    }
}
