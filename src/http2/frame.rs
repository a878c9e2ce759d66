//! Frames as they come from a client (RFC 9113, sections 4 and 6).
//!
//! A frame's head says how much belongs to it; what can be refused by the head alone is refused there, before
//! anything of the payload is waited for. The payload is read when all of it is there.
//!
//! Promises: nothing is copied; each malformation has the error that its section demands. What
//! depends on the frames before (the order of HEADERS and CONTINUATION, the states of streams, the first SETTINGS)
//! is not decided here.
//! Must not know: what is in a block of fields.

use super::{Error, MOST, Reason};

/// What each payload may have unless something else was agreed upon (section 6.5.2).
pub const DEFAULT_SIZE: u32 = 1 << 14;
/// The largest that can be agreed upon.
pub const LARGEST_SIZE: u32 = (1 << 24) - 1;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITY: u8 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// RFC 9218, section 7.1.
    PriorityUpdate,
    Unknown(u8),
}

impl From<u8> for Kind {
    fn from(code: u8) -> Kind {
        match code {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            16 => Kind::PriorityUpdate,
            _ => Kind::Unknown(code),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> u8 {
        match kind {
            Kind::Data => 0,
            Kind::Headers => 1,
            Kind::Priority => 2,
            Kind::Reset => 3,
            Kind::Settings => 4,
            Kind::PushPromise => 5,
            Kind::Ping => 6,
            Kind::GoAway => 7,
            Kind::WindowUpdate => 8,
            Kind::Continuation => 9,
            Kind::PriorityUpdate => 16,
            Kind::Unknown(code) => code,
        }
    }
}

/// The first bytes of a frame (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload.
    pub length: u32,
    pub kind: Kind,
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
}

impl Head {
    pub const SIZE: usize = 9;

    /// When all of it is there.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = *bytes.first_chunk::<{ Head::SIZE }>()?;
        Some(Head {
            length: u32::from_be_bytes([0, l2, l1, l0]),
            kind: Kind::from(kind),
            flags,
            // The reserved bit is ignored.
            stream: u32::from_be_bytes([s3, s2, s1, s0]) & MOST,
        })
    }

    pub fn bytes(self) -> [u8; Head::SIZE] {
        let [_, l2, l1, l0] = self.length.to_be_bytes();
        let [s3, s2, s1, s0] = self.stream.to_be_bytes();
        [l2, l1, l0, self.kind.into(), self.flags, s3, s2, s1, s0]
    }

    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is wrong without a look at the payload. `most` is the SETTINGS_MAX_FRAME_SIZE that was announced.
    pub fn check(self, most: u32) -> Result<(), Error> {
        use Kind::{
            Continuation, Data, GoAway, Headers, Ping, Priority, PriorityUpdate, PushPromise, Reset,
            WindowUpdate,
        };
        // For DATA and a few others one stream would do, but whoever announces so much will do it again.
        if self.length > most {
            return Err(frame_size("a frame is larger than SETTINGS_MAX_FRAME_SIZE"));
        }
        let (length, stream) = (self.length, self.stream);
        match self.kind {
            Data | Headers | Priority | Reset | Continuation if stream == 0 => {
                Err(protocol("a frame of a stream has stream 0"))
            }
            Kind::Settings | Ping | GoAway | PriorityUpdate if stream != 0 => {
                Err(protocol("a frame of the connection has a stream"))
            }
            PushPromise => Err(protocol("a client pushes")),
            Priority if length != 5 => {
                Err(Error::Stream(stream, Reason::FRAME_SIZE_ERROR, "PRIORITY has not 5 bytes"))
            }
            Reset | WindowUpdate if length != 4 => Err(frame_size("a frame has not 4 bytes")),
            Kind::Settings if self.has(ACK) && length != 0 => {
                Err(frame_size("an acknowledgement of SETTINGS has content"))
            }
            Kind::Settings if length % 6 != 0 => Err(frame_size("SETTINGS is not a multiple of 6 bytes")),
            Ping if length != 8 => Err(frame_size("PING has not 8 bytes")),
            GoAway if length < 8 => Err(frame_size("GOAWAY has less than 8 bytes")),
            PriorityUpdate if length < 4 => Err(frame_size("PRIORITY_UPDATE has less than 4 bytes")),
            _ => Ok(()),
        }
    }
}

/// A whole frame. Its parts are parts of the payload: with a `Bytes`, `slice_ref` finds them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// All of the payload counts against the windows, not only the content (section 6.9.1).
    Data {
        content: &'a [u8],
        end_stream: bool,
    },
    /// `circular`: the stream depends on itself. That ends the stream, but the block is read all the same.
    Headers {
        block: &'a [u8],
        end_stream: bool,
        end_headers: bool,
        circular: bool,
    },
    Priority,
    Reset(Reason),
    Settings(Settings),
    SettingsAck,
    Ping([u8; 8]),
    PingAck([u8; 8]),
    GoAway {
        last: u32,
        reason: Reason,
        debug: &'a [u8],
    },
    WindowUpdate(u32),
    Continuation {
        block: &'a [u8],
        end_headers: bool,
    },
    PriorityUpdate,
    /// To be ignored (section 5.5).
    Unknown,
}

/// What a frame says. `payload` is all of it, of a head that was [checked](Head::check).
pub fn parse(head: Head, payload: &[u8]) -> Result<Frame<'_>, Error> {
    let frame = match head.kind {
        Kind::Data => Frame::Data { content: unpadded(head, payload)?, end_stream: head.has(END_STREAM) },
        Kind::Headers => headers(head, payload)?,
        Kind::Priority if is_circular(head, payload) => {
            return Err(Error::Stream(head.stream, Reason::PROTOCOL_ERROR, "a stream depends on itself"));
        }
        Kind::Priority => Frame::Priority,
        Kind::Reset => Frame::Reset(Reason::from(number(payload))),
        Kind::Settings if head.has(ACK) => Frame::SettingsAck,
        Kind::Settings => Frame::Settings(Settings::parse(payload)?),
        Kind::Ping => {
            let opaque = *payload.first_chunk().ok_or(frame_size("PING has not 8 bytes"))?;
            if head.has(ACK) { Frame::PingAck(opaque) } else { Frame::Ping(opaque) }
        }
        Kind::GoAway => {
            let (last, rest) = payload.split_at_checked(4).unwrap_or_default();
            let debug = rest.get(4..).unwrap_or_default();
            Frame::GoAway { last: number(last) & MOST, reason: Reason::from(number(rest)), debug }
        }
        Kind::WindowUpdate => Frame::WindowUpdate(increment(head, payload)?),
        Kind::Continuation => Frame::Continuation { block: payload, end_headers: head.has(END_HEADERS) },
        Kind::PriorityUpdate if number(payload) & MOST == 0 => {
            return Err(protocol("PRIORITY_UPDATE is about stream 0"));
        }
        Kind::PriorityUpdate => Frame::PriorityUpdate,
        Kind::PushPromise => return Err(protocol("a client pushes")),
        Kind::Unknown(_) => Frame::Unknown,
    };
    Ok(frame)
}

fn headers(head: Head, payload: &[u8]) -> Result<Frame<'_>, Error> {
    let mut block = unpadded(head, payload)?;
    let mut circular = false;
    if head.has(PRIORITY) {
        circular = is_circular(head, block);
        block = block.get(5..).ok_or(frame_size("HEADERS has less than its priority"))?;
    }
    let (end_stream, end_headers) = (head.has(END_STREAM), head.has(END_HEADERS));
    Ok(Frame::Headers { block, end_stream, end_headers, circular })
}

/// RFC 7540, section 5.3.1.
fn is_circular(head: Head, priority: &[u8]) -> bool {
    number(priority) & MOST == head.stream
}

fn increment(head: Head, payload: &[u8]) -> Result<u32, Error> {
    match (number(payload) & MOST, head.stream) {
        (0, 0) => Err(protocol("WINDOW_UPDATE adds nothing")),
        (0, stream) => Err(Error::Stream(stream, Reason::PROTOCOL_ERROR, "WINDOW_UPDATE adds nothing")),
        (increment, _) => Ok(increment),
    }
}

/// Without the padding (section 6.1).
fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], Error> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(frame_size("the length of the padding is missing"))?;
    let content = rest.len().checked_sub(usize::from(*padding));
    content.map(|length| &rest[..length]).ok_or(protocol("there is more padding than payload"))
}

/// The first four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// What SETTINGS can say (section 6.5.2; RFC 8441, section 3); the last word counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub header_table_size: Option<u32>,
    pub enable_push: Option<bool>,
    pub max_concurrent_streams: Option<u32>,
    pub initial_window_size: Option<u32>,
    pub max_frame_size: Option<u32>,
    pub max_header_list_size: Option<u32>,
    pub enable_connect_protocol: Option<bool>,
}

impl Settings {
    fn parse(payload: &[u8]) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        for parameter in payload.chunks_exact(6) {
            settings.set(u16::from_be_bytes([parameter[0], parameter[1]]), number(&parameter[2..]))?;
        }
        Ok(settings)
    }

    fn set(&mut self, identifier: u16, value: u32) -> Result<(), Error> {
        match identifier {
            1 => self.header_table_size = Some(value),
            2 => self.enable_push = Some(flag(value, "SETTINGS_ENABLE_PUSH is neither 0 nor 1")?),
            3 => self.max_concurrent_streams = Some(value),
            4 if value > MOST => {
                let what = "SETTINGS_INITIAL_WINDOW_SIZE is more than 2^31-1";
                return Err(Error::Connection(Reason::FLOW_CONTROL_ERROR, what));
            }
            4 => self.initial_window_size = Some(value),
            5 if !(DEFAULT_SIZE..=LARGEST_SIZE).contains(&value) => {
                return Err(protocol("SETTINGS_MAX_FRAME_SIZE is not from 2^14 to 2^24-1"));
            }
            5 => self.max_frame_size = Some(value),
            6 => self.max_header_list_size = Some(value),
            8 => {
                let what = "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1";
                self.enable_connect_protocol = Some(flag(value, what)?);
            }
            // Unknown ones are ignored.
            _ => {}
        }
        Ok(())
    }

    /// What is to be said, in the order of the identifiers.
    pub(super) fn said(&self) -> impl Iterator<Item = (u16, u32)> {
        [
            (1, self.header_table_size),
            (2, self.enable_push.map(u32::from)),
            (3, self.max_concurrent_streams),
            (4, self.initial_window_size),
            (5, self.max_frame_size),
            (6, self.max_header_list_size),
            (8, self.enable_connect_protocol.map(u32::from)),
        ]
        .into_iter()
        .filter_map(|(identifier, value)| Some((identifier, value?)))
    }
}

fn flag(value: u32, what: &'static str) -> Result<bool, Error> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(protocol(what)),
    }
}

fn protocol(what: &'static str) -> Error {
    Error::Connection(Reason::PROTOCOL_ERROR, what)
}

fn frame_size(what: &'static str) -> Error {
    Error::Connection(Reason::FRAME_SIZE_ERROR, what)
}
