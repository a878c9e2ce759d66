//! What both sides of one connection know: its frames in, its frames out, its windows, its streams, its end.
//!
//! ```text
//!   bytes ─▶ frame ─ meter ─┬─▶ a request, for whoever drives the connection
//!                           ├─▶ content, trailers, resets ─▶ streams, which wake who waits
//!                           └─▶ what is answered at once ─▶ outbox
//!   Here ──leave──▶ GOAWAY 2^31-1, PING ──its answer──▶ GOAWAY, the newest stream ──no stream──▶ done
//!     └───────────── an error, an offence ──▶ GOAWAY with its code: streams are given up ──▶ done
//! ```
//! | what is not to the letter | what becomes of it (RFC 9113) |
//! |---|---|
//! | a frame that cannot be, its size, its order; SETTINGS; a block that cannot be decoded | the connection's end, 5.4.1 |
//! | content, trailers or WINDOW_UPDATE on a stream that never began | the connection's end, 5.1 |
//! | a head below the newest stream | the connection's end, STREAM_CLOSED, 5.1.1 |
//! | a head that is malformed, content of another length, a window that is exceeded | the stream is reset, 8.1.1 |
//! | frames of a stream that the client has ended | the stream is reset with STREAM_CLOSED, 5.1 |
//! | frames of a stream that we have reset | ignored, its content counts, 5.4.2 |
//! | trailers that are malformed | its content ends with a fault, and the exchange answers, 8.1.1 |
//!
//! Promises: pure, and no socket: bytes in, bytes out, a clock that is passed in. Each frame is looked at once, and metered
//! before it is acted upon. Nothing is acted upon after the connection's end.
//! Must not know: what a request is answered with, TLS, tasks.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::calm::{Meter, Offence};
use super::flow::{Intake, Outlet};
use super::messages::Asked;
use super::outbox::Outbox;
use super::streams::{Over, Streams};
use super::{CONNECTION_WINDOW, STREAM_WINDOW, list_size};
use crate::config::settings::Limits;
use crate::http2::frame::{self, DEFAULT_SIZE, Frame, Head, Kind, Settings};
use crate::http2::{Decoder, Encoder, Error, MOST, PREFACE, Reason, write};

/// What we ask with whether the client has seen the first GOAWAY (h2's).
const OURS: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];
/// The table that the client may use: what it is without SETTINGS.
const TABLE: usize = 4096;

pub(super) struct Session {
    pub(super) limits: Limits,
    pub(super) meter: Meter,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) streams: Streams,
    /// The newest that the client has begun.
    pub(super) newest: u32,
    pub(super) intake: Intake,
    pub(super) outlet: Outlet,
    /// What each stream begins with.
    pub(super) initial_outlet: u32,
    pub(super) outbox: Outbox,
    /// Streams that have something to send, in turns.
    pub(super) ready: VecDeque<u32>,
    /// Those that wait for the connection's window.
    pub(super) starved: VecDeque<u32>,
    greeted: bool,
    /// A frame whose payload is awaited, and what is wrong with its head.
    frame: Option<(Head, Result<(), Error>)>,
    /// A block whose end is awaited.
    block: Option<Block>,
    /// The client has not said yet that it knows our settings.
    pub(super) unsettled: bool,
    leave: Leave,
    ended: Option<Reason>,
    /// The client has said that it goes.
    client_leaves: bool,
    driver: Option<Waker>,
    /// The driver has been told that there is something to write.
    told: bool,
}

struct Block {
    stream: u32,
    end_stream: bool,
    circular: bool,
    bytes: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    /// No stream is refused yet.
    Asked,
    /// Later streams are not taken.
    Told,
}

impl Session {
    /// With our SETTINGS, which are to be sent.
    pub(super) fn new(limits: Limits, now: Instant) -> Session {
        let mut outbox = Outbox::default();
        let ours = Settings {
            max_concurrent_streams: Some(u32::try_from(limits.streams).unwrap_or(u32::MAX)),
            initial_window_size: Some(STREAM_WINDOW),
            max_header_list_size: Some(list_size(&limits)),
            enable_connect_protocol: Some(true),
            ..Settings::default()
        };
        outbox.write(|text| {
            write::settings(text, &ours);
            write::window_update(text, 0, CONNECTION_WINDOW - super::flow::INITIAL);
        });
        Session {
            limits,
            meter: Meter::new(now),
            decoder: Decoder::new(TABLE),
            encoder: Encoder::new(),
            streams: Streams::default(),
            newest: 0,
            intake: Intake::new(CONNECTION_WINDOW),
            outlet: Outlet::new(super::flow::INITIAL),
            initial_outlet: super::flow::INITIAL,
            outbox,
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            greeted: false,
            frame: None,
            block: None,
            unsettled: true,
            leave: Leave::No,
            ended: None,
            client_leaves: false,
            driver: None,
            told: false,
        }
    }

    /// Takes frames from the beginning of `bytes`, up to the next request; `None` when more bytes are needed, or none
    /// are wanted.
    pub(super) fn receive(&mut self, bytes: &mut BytesMut, now: Instant) -> Option<Asked> {
        while self.is_listening() {
            if !self.greeted {
                let known = bytes.len().min(PREFACE.len());
                if bytes[..known] != PREFACE[..known] {
                    self.fail(Error::Connection(Reason::PROTOCOL_ERROR, "the preface is none"), now);
                } else if known < PREFACE.len() {
                    return None;
                } else {
                    bytes.advance(PREFACE.len());
                    self.greeted = true;
                }
                continue;
            }
            let (head, sound) = match self.frame {
                Some(frame) => frame,
                None => {
                    let head = Head::parse(bytes)?;
                    bytes.advance(Head::SIZE);
                    self.begin_frame(head, now);
                    continue;
                }
            };
            let length = head.length as usize;
            let payload = bytes.get(..length)?;
            self.frame = None;
            self.meter.ends(head);
            let taken = sound.and_then(|()| frame::parse(head, payload));
            let taken = taken.and_then(|frame| self.take(head, frame, now));
            bytes.advance(length);
            match taken {
                Ok(None) => {}
                Ok(asked) => return asked,
                Err(error) => self.fail(error, now),
            }
        }
        bytes.clear();
        None
    }

    fn begin_frame(&mut self, head: Head, now: Instant) {
        self.meter.begins(head, now);
        let within = self.block.as_ref().map(|block| block.stream);
        let fits = match within {
            Some(stream) => head.kind == Kind::Continuation && head.stream == stream,
            None => head.kind != Kind::Continuation,
        };
        let sound = match fits {
            true => head.check(DEFAULT_SIZE),
            false => Err(protocol("a block of fields is not in one piece")),
        };
        match sound {
            Err(error @ Error::Connection(..)) if self.is_listening() => self.fail(error, now),
            sound => self.frame = Some((head, sound)),
        }
    }

    fn take(&mut self, head: Head, frame: Frame<'_>, now: Instant) -> Result<Option<Asked>, Error> {
        let stream = head.stream;
        match frame {
            Frame::Headers { block, end_stream, end_headers: true, circular } => {
                return self.take_block(stream, block, end_stream, circular, now);
            }
            Frame::Headers { block, end_stream, circular, .. } => {
                self.block = Some(Block { stream, end_stream, circular, bytes: BytesMut::from(block) });
            }
            Frame::Continuation { block: more, end_headers } => {
                let Some(block) = &mut self.block else { return Ok(None) };
                block.bytes.extend_from_slice(more);
                if end_headers && let Some(block) = self.block.take() {
                    return self.take_block(stream, &block.bytes, block.end_stream, block.circular, now);
                }
            }
            Frame::Data { content, end_stream } => self.take_data(head, content, end_stream)?,
            Frame::Reset(_) => {
                self.began(stream, "RST_STREAM on a stream that never began")?;
                self.streams.with(stream, |stream| stream.break_off(Over::Gone));
            }
            Frame::Settings(settings) => self.take_settings(&settings)?,
            Frame::SettingsAck if !std::mem::take(&mut self.unsettled) => {
                return Err(protocol("an acknowledgement of no SETTINGS"));
            }
            Frame::SettingsAck => self.streams.each(|_, stream| stream.intake.is_known_as(STREAM_WINDOW)),
            Frame::Ping(opaque) => self.write(|text| write::ping(text, opaque, true)),
            Frame::PingAck(OURS) if self.leave == Leave::Asked => self.tell_newest(),
            Frame::GoAway { .. } => self.client_leaves = true,
            Frame::WindowUpdate(increment) => self.widen(stream, increment)?,
            Frame::PingAck(_) | Frame::Priority | Frame::PriorityUpdate | Frame::Unknown => {}
        }
        Ok(None)
    }

    /// A stream that is not even begun.
    pub(super) fn refuse(&mut self, number: u32, reason: Reason, now: Instant) {
        self.meter.resets(reason);
        self.streams.remember_reset(number, now);
        self.write(|text| write::reset(text, number, reason));
    }

    fn take_settings(&mut self, settings: &Settings) -> Result<(), Error> {
        if let Some(size) = settings.header_table_size {
            self.encoder.resize(size);
        }
        if let Some(size) = settings.initial_window_size {
            let by = i64::from(size) - i64::from(self.initial_outlet);
            self.initial_outlet = size;
            let mut fits = Ok(());
            let mut opened = Vec::new();
            self.streams.each(|number, stream| {
                fits = fits.and(stream.outlet.shift(by));
                stream.offer_room();
                if stream.can_send() {
                    opened.push(number);
                }
            });
            let why = "SETTINGS open a window too far";
            fits.map_err(|_| Error::Connection(Reason::FLOW_CONTROL_ERROR, why))?;
            opened.into_iter().for_each(|number| self.enqueue(number));
        }
        self.write(write::settings_ack);
        Ok(())
    }

    fn widen(&mut self, number: u32, increment: u32) -> Result<(), Error> {
        let (increment, why) = (i64::from(increment), "a window is opened too far");
        if number == 0 {
            let (reason, was_open) = (Reason::FLOW_CONTROL_ERROR, self.outlet.is_open());
            self.outlet.shift(increment).map_err(|_| Error::Connection(reason, why))?;
            if self.outlet.is_open() {
                self.ready.append(&mut self.starved);
            }
            if !was_open {
                self.streams.each(|_, stream| stream.offer_room());
            }
            return Ok(());
        }
        self.began(number, "WINDOW_UPDATE on a stream that never began")?;
        let widened = self.streams.with(number, |stream| {
            stream.offer_room();
            stream.outlet.shift(increment)
        });
        match widened {
            Some(Err(_)) => Err(Error::Stream(number, Reason::FLOW_CONTROL_ERROR, why)),
            Some(Ok(())) => {
                self.enqueue(number);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn began(&self, number: u32, why: &'static str) -> Result<(), Error> {
        if number > self.newest || number.is_multiple_of(2) { Err(protocol(why)) } else { Ok(()) }
    }

    fn fail(&mut self, error: Error, now: Instant) {
        match error {
            Error::Connection(reason, why) => {
                tracing::debug!("an HTTP/2 connection ends with {reason}: {why}");
                self.end(reason);
            }
            // RFC 9113, section 5.4.2, does not let a stream be reset that never began.
            Error::Stream(number, reason, why) if self.began(number, why).is_err() => {
                self.fail(Error::Connection(reason, why), now);
            }
            Error::Stream(number, reason, why) => {
                tracing::debug!("an HTTP/2 stream is reset with {reason}: {why}");
                match self.streams.get(number) {
                    Some(_) => self.reset(number, reason, Over::Malformed, now),
                    None => self.refuse(number, reason, now),
                }
            }
        }
    }

    /// Ends a stream before its end.
    pub(super) fn reset(&mut self, number: u32, reason: Reason, over: Over, now: Instant) {
        let open = self.streams.with(number, |stream| {
            let open = !stream.is_closed();
            stream.break_off(over);
            open
        });
        if open == Some(true) {
            self.refuse(number, reason, now);
        }
    }

    /// Nobody here has anything to do with this stream any more, if that is so.
    pub(super) fn forget(&mut self, number: u32, now: Instant) {
        let Some(stream) = self.streams.get(number).filter(|stream| stream.is_forgotten()) else { return };
        if stream.is_ending() {
            // Whoever sends the end forgets it.
            return;
        }
        if !stream.is_closed() {
            // RFC 9113, section 8.1.
            let reason = if stream.sent { Reason::NO_ERROR } else { Reason::CANCEL };
            self.reset(number, reason, Over::Given, now);
        }
        self.streams.remove(number);
        if self.streams.is_empty() {
            // What the driver waits for may be another thing now.
            self.tell();
        }
    }

    /// Everything taken is answered, and nothing new is taken.
    pub(super) fn leave(&mut self) {
        if self.leave == Leave::No && self.ended.is_none() {
            self.leave = Leave::Asked;
            self.write(|text| {
                write::goaway(text, MOST, Reason::NO_ERROR, &[]);
                write::ping(text, OURS, false);
            });
        }
    }

    fn tell_newest(&mut self) {
        self.leave = Leave::Told;
        let newest = self.newest;
        self.write(|text| write::goaway(text, newest, Reason::NO_ERROR, &[]));
    }

    /// At once; all streams are given up.
    pub(super) fn end(&mut self, reason: Reason) {
        if self.ended.is_none() {
            let newest = self.newest;
            self.write(|text| write::goaway(text, newest, reason, &[]));
            self.ended = Some(reason);
            self.lose();
        }
    }

    /// There is nobody any more.
    pub(super) fn lose(&mut self) {
        self.ended.get_or_insert(Reason::NO_ERROR);
        (self.block, self.frame) = (None, None);
        self.streams.each(|_, stream| stream.break_off(Over::Gone));
    }

    /// Whether later streams than those that the client was told of are taken.
    pub(super) fn takes_streams(&self) -> bool {
        self.leave != Leave::Told
    }

    /// Whether frames are acted upon.
    pub(super) fn is_listening(&self) -> bool {
        self.ended.is_none() && self.meter.offence().is_none()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub(super) fn offence(&self) -> Option<Offence> {
        self.meter.offence()
    }

    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.meter.owed_since()
    }

    pub(super) fn has_streams(&self) -> bool {
        !self.streams.is_empty() || !self.outbox.is_empty()
    }

    /// Whether nothing more will happen, when everything has been written.
    pub(super) fn is_done(&self) -> bool {
        let left = self.leave == Leave::Told && self.streams.is_empty();
        (left || self.ended.is_some()) && self.outbox.is_empty()
    }

    /// A client that goes hears which of its streams were taken, when all of them are over.
    pub(super) fn conclude(&mut self) {
        if self.client_leaves && self.leave != Leave::Told && self.streams.is_empty() {
            self.tell_newest();
        }
    }

    /// By time.
    pub(super) fn tick(&mut self, now: Instant) {
        self.meter.drain(now);
        self.streams.forget_resets(now);
    }

    pub(super) fn rest(&mut self) {
        if self.streams.is_empty() {
            self.outbox.rest();
            self.ready = VecDeque::new();
            self.starved = VecDeque::new();
        }
    }

    /// Whoever polls with `cx` does now what is due.
    pub(super) fn attend(&mut self, cx: &Context<'_>) {
        self.told = true;
        match &self.driver {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => self.driver = Some(cx.waker().clone()),
        }
    }

    /// It has done that, and is to be told of what comes after.
    pub(super) fn settle(&mut self) {
        self.told = false;
    }

    /// There is something for the driver to do; said once in a turn.
    pub(super) fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true)
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    /// Whole frames that go out in their turn, before everything that waits for a window.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.ended.is_none() {
            self.outbox.write(write);
            self.tell();
        }
    }
}

pub(super) fn protocol(why: &'static str) -> Error {
    Error::Connection(Reason::PROTOCOL_ERROR, why)
}

#[cfg(test)]
mod tests;
