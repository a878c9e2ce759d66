//! The switches that make the application slow or failing, as `/switch?slow_ms=200&fail=3` sets them.
//!
//! Promises: a switch not named stays as it is; a value that cannot be read changes nothing and is
//! explained. `/switch`, `/posts` and `/echo` themselves never suffer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

#[derive(Default)]
pub struct Switches(Mutex<State>);

#[derive(Clone, Default, Serialize)]
pub struct State {
    /// Every answer waits so long.
    pub slow_ms: u64,
    /// So many of the next requests are answered 500.
    pub fail: u64,
    /// So many of the next answers end in the middle of their body.
    pub cut: u64,
    /// `/healthz` answers 503.
    pub unhealthy: bool,
}

/// What the switches make of one request.
pub enum Fate {
    Answered,
    Failed,
    Cut,
}

impl Switches {
    /// Sets what `query` names; `reset=1` puts everything back.
    pub fn set(&self, query: &str) -> Result<State, String> {
        let mut state = self.lock();
        let mut next = state.clone();
        for (key, value) in super::answers::pairs(query) {
            match key {
                "slow_ms" => next.slow_ms = number(key, value)?,
                "fail" => next.fail = if value == "all" { u64::MAX } else { number(key, value)? },
                "cut" => next.cut = if value == "all" { u64::MAX } else { number(key, value)? },
                "unhealthy" => next.unhealthy = number(key, value)? != 0,
                "reset" => next = State::default(),
                _ => {
                    return Err(format!(
                        "unknown switch '{key}'; there are slow_ms, fail, cut, unhealthy, reset"
                    ));
                }
            }
        }
        *state = next;
        Ok(state.clone())
    }

    pub fn healthy(&self) -> bool {
        !self.lock().unhealthy
    }

    /// Waits as long as an answer must wait, and says what is to become of it.
    pub async fn fate(&self) -> Fate {
        let slow = Duration::from_millis(self.lock().slow_ms);
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let mut state = self.lock();
        if take(&mut state.fail) {
            return Fate::Failed;
        }
        if take(&mut state.cut) { Fate::Cut } else { Fate::Answered }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(left: &mut u64) -> bool {
    let some = *left > 0;
    if some && *left != u64::MAX {
        *left -= 1;
    }
    some
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("switch '{key}' must be a number, found '{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_switch_counts_down_and_then_all_is_well_again() {
        let switches = Switches::default();
        switches.set("fail=1&cut=1").unwrap();
        assert!(matches!(switches.fate().await, Fate::Failed));
        assert!(matches!(switches.fate().await, Fate::Cut));
        assert!(matches!(switches.fate().await, Fate::Answered));
    }

    #[tokio::test]
    async fn failing_for_all_lasts_until_it_is_reset() {
        let switches = Switches::default();
        switches.set("fail=all&unhealthy=1").unwrap();
        for _ in 0..3 {
            assert!(matches!(switches.fate().await, Fate::Failed));
        }
        assert!(!switches.healthy());
        switches.set("reset=1").unwrap();
        assert!(matches!(switches.fate().await, Fate::Answered));
        assert!(switches.healthy());
    }

    #[test]
    fn a_switch_that_cannot_be_read_changes_nothing_and_is_explained() {
        let switches = Switches::default();
        let why = switches.set("unhealthy=1&slow_ms=soon").err().unwrap();
        assert_eq!(why, "switch 'slow_ms' must be a number, found 'soon'");
        assert!(switches.healthy());
        assert!(switches.set("slwo_ms=1").err().unwrap().contains("there are slow_ms, fail"));
    }
}
