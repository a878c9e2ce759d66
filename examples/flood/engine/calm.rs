//! A normal client: a few kept-alive connections, GETs at a fixed rate.
//!
//! Promises: open loop: each request has its time, whatever became of the one before, and its latency
//! counts from that time, so that a stall is seen by every request that it made wait. What it saw is told as a whole
//! and second by second: a virtual machine is taken away for half a second now and then, and the p99 of a whole run tells
//! how often that was, while the median of the seconds does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::storm::{self, Stream};

const CONNECTIONS: u32 = 4;
const WINDOW: Duration = Duration::from_secs(1);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it asks, with TLS or without.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    Plain(&'a str),
    Secure(&'a str),
}

pub struct Calm {
    notes: Arc<Notes>,
    stops: Vec<Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

type Notes = (Mutex<Vec<Asked>>, Condvar);

/// One request.
struct Asked {
    due: Instant,
    took: Duration,
    failed: bool,
}

/// Some of the requests.
#[derive(Debug, Default, Serialize)]
pub struct Share {
    pub requests: usize,
    pub failed: usize,
    pub p50_us: u64,
    /// Of all of them.
    pub p99_us: u64,
    /// Of each whole second.
    pub windows_p99_us: Vec<u64>,
}

impl Calm {
    pub fn start(door: Door<'_>, per_second: u32) -> Calm {
        let notes = Arc::new(Notes::default());
        let began = Instant::now();
        let pause = Duration::from_secs(1) / per_second;
        let mut calm = Calm { notes, stops: vec![], threads: vec![] };
        for number in 0..CONNECTIONS {
            let (stop, stopped) = channel();
            let notes = Arc::clone(&calm.notes);
            let (address, secure) = match door {
                Door::Plain(address) => (address.to_owned(), false),
                Door::Secure(address) => (address.to_owned(), true),
            };
            let first = began + pause * number;
            let ask = move || keep_asking((&address, secure), first, pause * CONNECTIONS, &stopped, &notes);
            calm.threads.push(std::thread::spawn(ask));
            calm.stops.push(stop);
        }
        calm
    }

    /// Waits until there were so many requests.
    pub fn wait(&self, count: usize) {
        self.until(|all| all.len() >= count);
    }

    /// Waits until so many of the requests were due after this.
    pub fn wait_since(&self, since: Instant, count: usize) {
        self.until(|all| all.iter().filter(|one| one.due >= since).count() >= count);
    }

    fn until(&self, holds: impl Fn(&[Asked]) -> bool) {
        if let Ok(all) = self.notes.0.lock() {
            drop(self.notes.1.wait_while(all, |all| !holds(all)));
        }
    }

    /// Ends, and tells what was outside of these moments, the second after the last one being in no window, and what
    /// was between them.
    pub fn finish(mut self, from: Instant, to: Instant) -> (Share, Share) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let Ok(all) = self.notes.0.lock() else { return Default::default() };
        let Some(first) = all.iter().map(|one| one.due).min() else { return Default::default() };
        let last = all.iter().map(|one| one.due).max().unwrap_or(first);
        let (under, beside): (Vec<&Asked>, Vec<&Asked>) =
            all.iter().partition(|one| (from..to).contains(&one.due));
        let windows = |from, to| windows(&all, from, to);
        (
            share(&beside, [windows(first, from), windows(to + WINDOW, last)].concat()),
            share(&under, windows(from, to)),
        )
    }
}

impl Share {
    /// What a usual second was like, whatever the worst ones were.
    pub fn median_us(&self) -> u64 {
        percentile(self.windows_p99_us.clone(), 50)
    }

    pub fn worst_us(&self) -> u64 {
        self.windows_p99_us.iter().copied().max().unwrap_or(0)
    }
}

fn share(all: &[&Asked], windows_p99_us: Vec<u64>) -> Share {
    let times: Vec<u64> = all.iter().map(|one| one.took.as_micros() as u64).collect();
    Share {
        requests: all.len(),
        failed: all.iter().filter(|one| one.failed).count(),
        p50_us: percentile(times.clone(), 50),
        p99_us: percentile(times, 99),
        windows_p99_us,
    }
}

/// The p99 of each whole window between these moments.
fn windows(all: &[Asked], from: Instant, to: Instant) -> Vec<u64> {
    let count = to.saturating_duration_since(from).as_nanos() / WINDOW.as_nanos();
    let mut times = vec![vec![]; count as usize];
    for one in all.iter().filter(|one| one.due >= from) {
        let window = (one.due - from).as_nanos() / WINDOW.as_nanos();
        if let Some(times) = times.get_mut(window as usize) {
            times.push(one.took.as_micros() as u64);
        }
    }
    times.into_iter().map(|times| percentile(times, 99)).collect()
}

fn percentile(mut times: Vec<u64>, percent: usize) -> u64 {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn keep_asking(door: (&str, bool), first: Instant, pause: Duration, stopped: &Receiver<()>, notes: &Notes) {
    let mut connection = None;
    let mut due = first;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let answered = ask(&mut connection, door);
        if answered.is_err() {
            connection = None;
        }
        let asked = Asked { due, took: due.elapsed(), failed: answered.is_err() };
        if let Ok(mut all) = notes.0.lock() {
            all.push(asked);
        }
        notes.1.notify_all();
        due += pause;
    }
}

fn ask(connection: &mut Option<Box<dyn Stream>>, (address, secure): (&str, bool)) -> std::io::Result<()> {
    let socket = match connection {
        Some(socket) => socket,
        None => {
            let socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            connection.insert(match secure {
                true => Box::new(storm::connect(socket).map_err(std::io::Error::other)?),
                false => Box::new(socket),
            })
        }
    };
    socket.write_all(b"GET / HTTP/1.1\r\nHost: calm.test\r\n\r\n")?;
    let mut answer = vec![];
    let mut space = [0; 4096];
    while !answer.ends_with(b"\r\n\r\nok") {
        let count = socket.read(&mut space)?;
        if count == 0 || (!answer.is_empty() && !answer.starts_with(b"HTTP/1.1 200 ")) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&space[..count]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNDRED: usize = 100;

    /// A hundred requests in each second, one after the other; in the seconds of `bad` they take half of one.
    fn seconds(count: u64, bad: &[u64]) -> (Instant, Vec<Asked>) {
        let began = Instant::now();
        let one = |number: u64| {
            let due = began + Duration::from_millis(10 * number);
            let slow = bad.contains(&(number / HUNDRED as u64));
            Asked { due, took: Duration::from_millis(if slow { 500 } else { 2 }), failed: false }
        };
        (began, (0..count * HUNDRED as u64).map(one).collect())
    }

    #[test]
    fn a_bad_second_now_and_then_is_the_worst_and_not_the_median() {
        let (began, all) = seconds(9, &[1, 4, 5, 8]);
        let windows = windows(&all, began, began + 9 * WINDOW);
        let share = share(&all.iter().collect::<Vec<_>>(), windows);
        assert_eq!(share.windows_p99_us.len(), 9);
        assert_eq!([share.median_us(), share.worst_us(), share.p99_us], [2_000, 500_000, 500_000]);
    }

    #[test]
    fn what_is_slow_more_than_half_of_the_time_is_the_median() {
        let (began, all) = seconds(9, &[1, 2, 3, 4, 5]);
        let windows = windows(&all, began, began + 9 * WINDOW);
        assert_eq!(share(&[], windows).median_us(), 500_000);
    }

    #[test]
    fn a_second_that_is_not_whole_is_no_window() {
        let (began, all) = seconds(3, &[]);
        assert_eq!(windows(&all, began, began + Duration::from_millis(2_900)).len(), 2);
        assert_eq!(windows(&all, began + WINDOW, began).len(), 0);
    }
}
