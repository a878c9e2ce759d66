//! WebSockets that send numbered messages and expect an answer to each, numbered too, in order, unchanged.
//!
//! The application numbers what it says, answers and words of its own accord, and says in each what it has noticed
//! of the messages that it got (`wire::numbered`): so the numbers of both directions are checked, each by who reads.
//! Promises: a tunnel that ends before the client closes it is dropped, also when it is told 1001; it is
//! opened anew as any client would, and the new handshake is a request like others.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Run;
use super::connection::{Connection, Kind, Loss};
use super::tally::What;
use super::wire::numbered::{Answer, Faults, Order, number};
use super::wire::websocket::{Frame, Opcode, accept, base64};

/// What a tunnel has sent and what came back of it.
#[derive(Default)]
struct Messages {
    sent: u64,
    /// Up to the highest one that was answered.
    returned: u64,
    /// The messages of the application.
    order: Order,
    /// What the application has noticed of ours, as it said last.
    noticed: Faults,
    /// When the oldest message that is still out was sent.
    waiting_since: Option<Instant>,
}

/// How a tunnel ended, in a word.
enum End {
    /// The client closed it, and the close was answered.
    Closed,
    Dropped(String),
}

pub fn spawn(run: &Rc<Run>, clients: &mut JoinSet<()>) {
    let count = run.options.tunnels;
    for slot in 0..count {
        let arrival = Run::arrival(slot, count, Duration::from_millis(10));
        clients.spawn_local(keep_open(run.clone(), slot as u64, arrival));
    }
}

async fn keep_open(run: Rc<Run>, slot: u64, arrival: Duration) {
    let mut pause = arrival;
    while run.goes_on_after(pause).await {
        // Boxed: of thousands that are open, few shake hands.
        if let Some(mut connection) = Box::pin(shake_hands(&run, slot)).await {
            run.tally.borrow_mut().tunnel_opened();
            let mut messages = Messages::default();
            let end = talk(&run, &mut connection, &mut messages, slot).await;
            let mut tally = run.tally.borrow_mut();
            tally.tunnel_faults(messages.order.faults.and(messages.noticed));
            if let End::Dropped(how) = end {
                tally.tunnel_dropped(how);
            }
        }
        pause = Duration::from_millis(100);
    }
}

async fn shake_hands(run: &Run, slot: u64) -> Option<Connection> {
    let begun = run.tally.borrow_mut().begin(What::Handshake, false);
    let opened = tokio::time::timeout(run.options.patience, open(run, slot)).await;
    let opened = opened.unwrap_or_else(|_| Err(Loss::new(Kind::Timeout, "no answer to the handshake")));
    let mut tally = run.tally.borrow_mut();
    match opened {
        Ok(mut connection) => {
            tally.answered(begun, connection.take_longest_wait());
            Some(connection)
        }
        Err(loss) => {
            tally.failed(begun, loss);
            None
        }
    }
}

async fn open(run: &Run, slot: u64) -> Result<Connection, Loss> {
    let host = run.host(slot);
    let mut connection = run.open(What::Handshake, host).await?;
    let key = base64(&fastrand::u128(..).to_be_bytes());
    let pause = run.options.tunnel_pause.as_millis();
    let request = format!(
        "GET /numbered?ms={pause} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    connection.send(request.as_bytes()).await?;
    let head = connection.head().await?;
    if head.status != 101 {
        return Err(Loss::new(Kind::BadStatus, format!("{} to a WebSocket handshake", head.status)));
    }
    if head.websocket_accept.as_deref() != Some(&accept(&key)) {
        return Err(Loss::new(Kind::Malformed, "a wrong Sec-WebSocket-Accept"));
    }
    Ok(connection)
}

/// Sends at each tick and checks what comes back, until the tunnel or the load ends.
async fn talk(run: &Run, connection: &mut Connection, messages: &mut Messages, slot: u64) -> End {
    let mut ticks = tokio::time::interval(run.options.tunnel_pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = run.stopping.clone();
    loop {
        if let Some(end) = receive(run, connection, messages, slot).await {
            return end;
        }
        connection.rest();
        tokio::select! {
            _ = ticks.tick() => {
                let frame = Frame::text(message(slot, messages.sent)).encode(Some(mask()));
                messages.sent += 1;
                messages.waiting_since.get_or_insert_with(Instant::now);
                // What broke the sending is told by the reading.
                let _ = connection.send(&frame).await;
            }
            read = connection.read() => if let Some(how) = broken(read) { return End::Dropped(how) },
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    let closing = close(run, connection, messages, slot);
    let closed = tokio::time::timeout(run.options.patience, closing).await;
    closed.unwrap_or_else(|_| End::Dropped("silent at the end".to_owned()))
}

/// Waits for what is still out, then closes with 1000 and waits for the answer to that.
async fn close(run: &Run, connection: &mut Connection, messages: &mut Messages, slot: u64) -> End {
    let mut asked = false;
    loop {
        if let Some(end) = receive(run, connection, messages, slot).await {
            return end;
        }
        if !asked && messages.returned >= messages.sent {
            asked = true;
            let _ = connection.send(&Frame::close(1000).encode(Some(mask()))).await;
        }
        let read = connection.read().await;
        if let Some(how) = broken(read) {
            // RFC 6455, section 7.1.1: whoever was asked to close may close the connection right away.
            return if asked && how == "eof" { End::Closed } else { End::Dropped(how) };
        }
    }
}

/// Checks every message that has come whole.
async fn receive(run: &Run, connection: &mut Connection, messages: &mut Messages, slot: u64) -> Option<End> {
    loop {
        let frame = match Frame::decode(&mut connection.buffer) {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(why) => return Some(End::Dropped(format!("malformed: {}", why.0))),
        };
        match frame.opcode {
            Opcode::Text => messages.came_back(run, slot, &frame.payload),
            Opcode::Ping => {
                let _ = connection.send(&Frame::pong(frame.payload).encode(Some(mask()))).await;
            }
            Opcode::Close => {
                let code = frame.close_code();
                let _ = connection.send(&frame.encode(Some(mask()))).await;
                return Some(if code == 1000 { End::Closed } else { End::Dropped(format!("closed {code}")) });
            }
            Opcode::Binary | Opcode::Continuation | Opcode::Pong => messages.order.faults.changed += 1,
        }
    }
}

impl Messages {
    fn came_back(&mut self, run: &Run, slot: u64, payload: &[u8]) {
        let Some(answer) = Answer::read(payload) else {
            self.order.faults.changed += 1;
            return;
        };
        if answer.number >= self.order.reached() {
            self.noticed = answer.noticed;
        }
        self.order.came(answer.number);
        if answer.answered.is_empty() {
            return;
        }
        run.tally.borrow_mut().message(self.waiting_since.take().map(|since| since.elapsed()));
        let place = number(answer.answered.as_bytes());
        match place.filter(|place| *place < self.sent && answer.answered == message(slot, *place)) {
            Some(place) => self.returned = self.returned.max(place + 1),
            None => self.order.faults.changed += 1,
        }
        if self.returned < self.sent {
            self.waiting_since = Some(Instant::now());
        }
    }
}

/// Every tenth message is long enough for an extended length and more than one segment.
fn message(slot: u64, place: u64) -> String {
    let padding = if place % 10 == 9 { 4_096 } else { 0 };
    format!("{place} tunnel {slot} {:.<padding$}", "")
}

fn mask() -> [u8; 4] {
    fastrand::u32(..).to_be_bytes()
}

fn broken(read: Result<usize, Loss>) -> Option<String> {
    match read {
        Ok(0) => Some("eof".to_owned()),
        Ok(_) => None,
        Err(loss) => Some(format!("{:?}", loss.kind).to_lowercase()),
    }
}
