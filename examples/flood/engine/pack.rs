//! The offenders of a flood: many connections, driven by one thread with poll(2).
//!
//! Promises: ends at its bounds; a connection that is ended is noted with its way: the code of a GOAWAY, the status
//! of an answer, closed, reset, or let go (the gateway has no socket for it any more, which a client
//! that does not read cannot see: proc_net_tcp(5), the inode is 0).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Bounds;
use super::frames::{ACK, GOAWAY, SETTINGS, frame};
use super::kinds::Plan;
use super::storm::Stormy;

const TICK: Duration = Duration::from_millis(100);
/// As much as is put together before it is written.
const BATCH: usize = 16 * 1024;

#[derive(Default)]
pub struct Pack {
    pub connections: usize,
    pub ended: usize,
    pub ways: BTreeMap<String, usize>,
    pub first_end: Option<Duration>,
    pub units: u64,
    pub bytes: u64,
}

struct Offender {
    socket: TcpStream,
    storm: Option<Stormy>,
    port: u16,
    began: Instant,
    out: Vec<u8>,
    units: u64,
    came: Vec<u8>,
    /// What was said before the end.
    way: Option<String>,
    ended: bool,
}

/// Plays a plan within its bounds.
pub fn run(plan: &Plan, address: &str, bounds: Bounds) -> anyhow::Result<Pack> {
    let address: SocketAddr = address.parse()?;
    let mut pack = Pack::default();
    let mut all = vec![];
    for _ in 0..plan.connections {
        all.push(Offender::start(plan, address)?);
        pack.connections += 1;
    }
    let end = Instant::now() + bounds.time;
    let mut tick = Instant::now();
    while Instant::now() < end && !is_over(plan, bounds, &pack, &all) {
        let ticks = tick.elapsed() >= TICK;
        if ticks {
            tick = Instant::now();
            if !plan.reads {
                let held = held_by(address.port())?;
                let gone = |one: &&mut Offender| !one.ended && !held.contains(&one.port);
                all.iter_mut().filter(gone).for_each(|one| one.end(&mut pack, "let go"));
            }
        }
        for one in &mut all {
            if one.ended && (plan.leaves || bounds.returns && ticks) && pack.units < bounds.units {
                // The gateway may be pausing; the bounds still hold.
                let Ok(next) = Offender::start(plan, address) else { continue };
                *one = next;
                pack.connections += 1;
            }
            one.fill(plan, bounds, &mut pack, ticks);
        }
        wait(plan, &mut all)?.into_iter().zip(&mut all).for_each(|(ready, one)| {
            if ready.intersects(PollFlags::OUT) {
                one.write(plan, &mut pack);
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                one.read(plan, &mut pack);
            }
        });
    }
    Ok(pack)
}

/// Whether there is nothing more to be said, or to be waited for.
fn is_over(plan: &Plan, bounds: Bounds, pack: &Pack, all: &[Offender]) -> bool {
    if plan.leaves {
        return pack.units >= bounds.units;
    }
    !bounds.returns && all.iter().all(|one| one.ended)
}

fn wait(plan: &Plan, all: &mut [Offender]) -> anyhow::Result<Vec<PollFlags>> {
    let wanted = |one: &Offender| {
        let writes = if one.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let reads = if plan.reads { PollFlags::IN } else { PollFlags::empty() };
        writes | reads
    };
    let mut fds: Vec<(usize, PollFd)> = vec![];
    for (index, one) in all.iter().enumerate().filter(|(_, one)| !one.ended) {
        fds.push((index, PollFd::new(&one.socket, wanted(one))));
    }
    let timeout = Timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as i64 / 2 };
    let (places, mut asked): (Vec<usize>, Vec<PollFd>) = fds.into_iter().unzip();
    match poll(&mut asked, Some(&timeout)) {
        Err(rustix::io::Errno::INTR) => {}
        polled => _ = polled?,
    }
    let mut ready = vec![PollFlags::empty(); all.len()];
    places.into_iter().zip(&asked).for_each(|(index, fd)| ready[index] = fd.revents());
    Ok(ready)
}

/// The ports of clients whose connection the process behind this port still has, or has yet to accept.
fn held_by(port: u16) -> anyhow::Result<BTreeSet<u16>> {
    let text = std::fs::read_to_string("/proc/net/tcp")?;
    let of = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let held = of(words.get(1)?)? == port && words.get(3) == Some(&"01");
        of(words.get(2)?).filter(|_| held)
    };
    Ok(text.lines().skip(1).filter_map(row).collect())
}

impl Offender {
    fn start(plan: &Plan, address: SocketAddr) -> anyhow::Result<Offender> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let storm = plan.storm.map(|storm| Stormy::start(storm, &mut socket)).transpose()?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        let out = plan.hello.clone();
        let began = Instant::now();
        Ok(Offender { socket, storm, port, began, out, units: 0, came: vec![], way: None, ended: false })
    }

    /// Puts more units together, when what was there is written.
    fn fill(&mut self, plan: &Plan, bounds: Bounds, pack: &mut Pack, ticks: bool) {
        if self.ended || plan.leaves || (plan.paced && !ticks) {
            return;
        }
        while self.out.len() < BATCH && self.units < bounds.units {
            let unit = match &mut self.storm {
                Some(storm) => storm.unit(),
                None => (plan.unit)(self.units),
            };
            if unit.is_empty() {
                return;
            }
            self.out.extend(unit);
            self.units += 1;
            pack.units += 1;
            if plan.paced {
                return;
            }
        }
    }

    fn write(&mut self, plan: &Plan, pack: &mut Pack) {
        match self.socket.write(&self.out) {
            Ok(count) => {
                self.out.drain(..count);
                pack.bytes += count as u64;
                if plan.leaves && self.out.is_empty() && !plan.reads {
                    self.ended = true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // What was said before is still to be read.
            Err(_) => self.read_rest(plan, pack),
        }
    }

    fn read(&mut self, plan: &Plan, pack: &mut Pack) {
        let mut space = [0; 64 * 1024];
        loop {
            match self.socket.read(&mut space) {
                Ok(0) => return self.end(pack, "closed"),
                Ok(count) => {
                    self.came.extend_from_slice(&space[..count]);
                    self.digest(plan);
                    if plan.leaves {
                        // It has its answer.
                        self.ended = true;
                        pack.units += 1;
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(pack, "reset"),
            }
        }
    }

    fn read_rest(&mut self, plan: &Plan, pack: &mut Pack) {
        self.read(plan, pack);
        self.end(pack, "reset");
    }

    /// Looks for what announces an end.
    fn digest(&mut self, plan: &Plan) {
        if plan.secure {
            return self.came.clear();
        }
        if !plan.http2 {
            let first = self.came.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let status = String::from_utf8_lossy(first).split(' ').nth(1).map(str::to_owned);
            if self.way.is_none() {
                self.way = status.map(|status| format!("status {status}"));
            }
            return self.came.clear();
        }
        while let Some(head) = self.came.first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let Some(payload) = self.came.get(9..9 + length) else { return };
            if kind == GOAWAY {
                let code = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
                self.way = Some(format!("goaway {}", code.unwrap_or_default()));
            }
            let answer = kind == SETTINGS && flags & ACK == 0 && plan.polite;
            self.came.drain(..9 + length);
            if answer {
                self.out.extend(frame(SETTINGS, ACK, 0, &[]));
            }
        }
    }

    fn end(&mut self, pack: &mut Pack, how: &str) {
        if self.ended {
            return;
        }
        self.ended = true;
        pack.ended += 1;
        let way = self.way.take().unwrap_or_else(|| how.to_owned());
        *pack.ways.entry(way).or_default() += 1;
        let after = self.began.elapsed();
        pack.first_end = Some(pack.first_end.map_or(after, |first| first.min(after)));
    }
}
