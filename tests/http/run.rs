//! Runs a table against one gateway and reports every row that fails.
//!
//! Each row is run twice, the second time with every byte in a segment of its own: a parser must not
//! depend on how bytes arrive. Some are run over TLS as well, which must be no different. What arrived at the endpoint is judged when the gateway has ended,
//! since then nothing can arrive any more.
//! Promises: all rows that fail are told at once, each with what was said, heard and demanded.
//! Must not know: what the rows are about.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::client::Client;
use crate::daemon::{Daemon, Folder};
use crate::endpoint::{Endpoint, Lane};
use crate::oracle::{self, Answer, Message, quote};
use crate::peer::{Heard, Peer};
use crate::pki::Authority;
use crate::row::{Content, Expected, Row, Step, Then, Want, want};

/// Rows that are under way at once; they mostly wait.
const AT_ONCE: usize = 16;

/// One row of so many is run over TLS as well, in single bytes and not by turns.
const SECURE: usize = 8;

const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: a0000.test\r\n\r\n";

/// Fields that hitless says itself.
const OWN: &[&str] = &[
    "host",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "traceparent",
    "x-request-id",
    "content-length",
    "transfer-encoding",
    "connection",
];

/// What became of a run.
struct Outcome {
    lane: Arc<Lane>,
    heard: Heard,
    faults: Vec<String>,
    /// Whether a probe followed, which must arrive as well.
    probed: bool,
}

/// Runs all rows against one gateway with these settings.
pub fn run(settings: &str, rows: Vec<Row>) {
    raise_descriptors();
    let lanes = lanes(rows);
    let (listener, port) = Endpoint::bind();
    let daemon = gateway(settings, &lanes, port);
    let endpoint = Endpoint::start(listener, lanes.clone());
    let addresses = ["http", "https"].map(|listener| daemon.address_of(listener));
    let outcomes = ask(&addresses, &lanes);
    let log = stop(daemon);
    endpoint.ends();
    report(outcomes, &log);
}

fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn lanes(rows: Vec<Row>) -> Vec<Arc<Lane>> {
    let rows = rows.into_iter().map(Arc::new).enumerate();
    let runs = rows.flat_map(|(index, row)| {
        let second = row.by_bytes.then(|| (Arc::clone(&row), true, false));
        let by_bytes = row.by_bytes && index / SECURE % 2 == 1;
        let third = is_secure(index, &row).then(|| (Arc::clone(&row), by_bytes, true));
        [(row, false, false)].into_iter().chain(second).chain(third)
    });
    let numbered = runs.enumerate();
    numbered.map(|(index, (row, by_bytes, tls))| Arc::new(Lane::new(row, by_bytes, tls, index + 1))).collect()
}

/// Whether it is run over TLS too; not if it is about the scheme, or about a host that nobody has, for which the
/// handshake was already not.
fn is_secure(index: usize, row: &Row) -> bool {
    let mut fields = row.arrives.iter().flat_map(|want| &want.fields);
    let foreign = row.gets.iter().any(|expected| expected.code == Some("misdirected"));
    index.is_multiple_of(SECURE) && !foreign && !fields.any(|(name, _)| name.contains("forwarded"))
}

/// So many runs of these rows are over TLS.
pub fn secure(rows: &[Row]) -> usize {
    rows.iter().enumerate().filter(|(index, row)| is_secure(*index, row)).count()
}

fn gateway(settings: &str, lanes: &[Arc<Lane>], port: u16) -> Daemon {
    let always =
        "[daemon]\nthreads = 1\n[log]\naccess = \"all\"\n[drain]\nidle-grace = \"0s\"\ndeadline = \"2s\"\n";
    let door = "[listener.https]\nlisten = [\"127.0.0.1:0\"]\ntls = true\n\
                [tls]\ncertificates = [{ chain = \"rows.pem\", key = \"rows.key\" }]\n";
    let folder = Folder::listening_with(&format!("{door}{always}{settings}"));
    Authority::new("rows").leaf(&["rows.test"]).pair().write(folder.path(), "rows");
    let service = |lane: &Arc<Lane>| {
        let name = lane.host().replace(".test", "");
        let lines = lane.row.service.replace("NAME", &name);
        let (host, address) = (lane.host(), lane.address());
        format!(
            "[service.{name}]\nhosts = [\"{host}\"]\nendpoints = [\"{address}:{port}\"]\nhold.age = \"off\"\nretry.attempts = 1\n{lines}\n"
        )
    };
    folder.write("services.d/rows.toml", &lanes.iter().map(service).collect::<String>());
    folder.start().ready()
}

/// Every run, some of them at once.
fn ask([plain, secure]: &[String; 2], lanes: &[Arc<Lane>]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(lanes.len()) {
            scope.spawn(|| {
                while let Some((index, lane)) = take(&next, lanes) {
                    let address = if lane.secure { secure } else { plain };
                    outcomes.lock().unwrap().insert(index, client(address, lane));
                }
            });
        }
    });
    outcomes.into_inner().unwrap().into_values().collect()
}

fn take<'a>(next: &AtomicUsize, lanes: &'a [Arc<Lane>]) -> Option<(usize, &'a Arc<Lane>)> {
    let index = next.fetch_add(1, SeqCst);
    lanes.get(index).map(|lane| (index, lane))
}

/// Ends the gateway and waits for it; returns its log.
fn stop(mut daemon: Daemon) -> String {
    daemon.signal(Signal::TERM);
    let status = daemon.ends();
    let log = daemon.log();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

fn client(address: &str, lane: &Arc<Lane>) -> Outcome {
    let heard = Heard::default();
    let stream = TcpStream::connect(address).unwrap();
    let peer = Peer::new(stream, Arc::clone(&heard), lane.by_bytes);
    let tls = || Client::trusting_anybody().offering(&["http/1.1"]).tls(None);
    let mut conversation = Conversation {
        lane,
        peer: if lane.secure { peer.secured(tls()) } else { peer },
        methods: lane.row.gets.iter().map(|expected| expected.to).collect(),
        probed: false,
    };
    let talked = catch_unwind(AssertUnwindSafe(|| conversation.talk()));
    let faults = match talked {
        Ok(Ok(())) => vec![],
        Ok(Err(fault)) => vec![fault],
        Err(_) => vec!["the test itself panicked".to_owned()],
    };
    Outcome { lane: Arc::clone(lane), heard, faults, probed: conversation.probed }
}

/// The client's side of a run.
struct Conversation<'a> {
    lane: &'a Lane,
    peer: Peer,
    methods: Vec<&'static str>,
    probed: bool,
}

impl Conversation<'_> {
    fn talk(&mut self) -> Result<(), String> {
        for step in &self.lane.row.steps {
            self.step(step)?;
        }
        self.answered(self.methods.len())?;
        let (answers, length) = self.answers()?;
        let gets = &self.lane.row.gets;
        for (place, expected) in gets.iter().enumerate() {
            match answers.get(place) {
                Some(answer) => judge(expected, answer, self.lane).map_err(|fault| said_of(place, &fault))?,
                None if expected.optional => {}
                None => return Err(said_of(place, "there is none")),
            }
        }
        let kept = answers.len() == gets.len() && answers.iter().all(|answer| answer.message.whole);
        self.end(answers.last(), length, kept)
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Say(bytes) => self.peer.say(&self.lane.own(bytes)),
            Step::Answered(count) => self.answered(*count),
            Step::Interim(status) => {
                self.peer.hear(|bytes, _| oracle::interim(bytes).contains(status))?;
                let there = oracle::interim(&self.peer.heard.lock().unwrap()).contains(status);
                if there { Ok(()) } else { Err(format!("no interim answer {status}")) }
            }
            Step::Heard(text) => {
                self.peer.hear(|bytes, _| oracle::find(bytes, text.as_bytes()).is_some())?;
                let there = oracle::find(&self.peer.heard.lock().unwrap(), text.as_bytes()).is_some();
                if there { Ok(()) } else { Err(format!("{text:?} was not heard")) }
            }
            Step::HalfClose => {
                self.peer.half_close();
                Ok(())
            }
            Step::Mark(name) => {
                self.lane.mark(name);
                Ok(())
            }
            Step::Await(name) => self.lane.await_mark(name),
        }
    }

    /// Listens until so many answers are whole.
    fn answered(&mut self, count: usize) -> Result<(), String> {
        let methods = &self.methods[..count];
        self.peer.hear(|bytes, end| {
            oracle::answers(bytes, methods, end).map_or(true, |(answers, _)| {
                answers.len() == count && answers.iter().all(|answer| answer.message.whole)
            })
        })
    }

    fn answers(&self) -> Result<(Vec<Answer>, usize), String> {
        oracle::answers(&self.peer.heard.lock().unwrap(), &self.methods, self.peer.end)
    }

    /// What becomes of the connection after `length` bytes of answers.
    fn end(&mut self, last: Option<&Answer>, length: usize, kept: bool) -> Result<(), String> {
        let closes = last.is_some_and(|answer| answer.message.lists("connection", "close"));
        match &self.lane.row.then {
            Then::Any => return Ok(()),
            Then::Kept if kept => return self.probe(),
            Then::Kept => return Err("the connection is not kept".to_owned()),
            Then::KeptAfter(rest) if kept && !closes => {
                self.peer.say(&self.lane.own(rest.as_bytes()))?;
                return self.probe();
            }
            Then::KeptOrClosed if kept && !closes => {
                let probed = self.probe();
                let silent = self.peer.end.is_some() && self.peer.heard.lock().unwrap().len() == length;
                self.probed = !silent;
                return if silent { Ok(()) } else { probed };
            }
            Then::Refused if last.is_some() && !closes => {
                return Err("the answer does not say that the connection ends".to_owned());
            }
            Then::KeptAfter(_) | Then::KeptOrClosed | Then::Refused | Then::Closed => {}
        }
        self.peer
            .hear(|bytes, _| bytes.len() > length)
            .map_err(|_| "the connection does not end".to_owned())?;
        match self.peer.heard.lock().unwrap()[..].get(length..) {
            // `connection::presence` asks the client's kernel with the first byte of an answer.
            Some(b"H") if last.is_none() => Ok(()),
            Some(surplus) if !surplus.is_empty() => Err(format!("after the answers: {}", quote(surplus))),
            _ => Ok(()),
        }
    }

    /// The next request on the connection gets its own answer and nothing else.
    fn probe(&mut self) -> Result<(), String> {
        self.probed = true;
        self.peer
            .say(&self.lane.own(PROBE.as_bytes()))
            .map_err(|fault| format!("the next request: {fault}"))?;
        self.methods.push("GET");
        self.answered(self.methods.len()).map_err(|fault| format!("the next request: {fault}"))?;
        let (answers, length) = self.answers()?;
        let answer = answers.get(self.methods.len() - 1).ok_or("the next request is not answered")?;
        if answer.status != 200 || answer.message.content != b"ok" || !answer.message.whole {
            return Err(format!("the next request is answered {} {:?}", answer.status, answer.message));
        }
        let surplus = self.peer.heard.lock().unwrap().len() - length;
        if surplus > 0 { Err(format!("{surplus} bytes after the next answer")) } else { Ok(()) }
    }
}

fn said_of(place: usize, fault: &str) -> String {
    format!("answer {}: {fault}", place + 1)
}

/// Whether this is the answer that was expected.
fn judge(expected: &Expected, answer: &Answer, lane: &Lane) -> Result<(), String> {
    let Answer { interim, message, status } = answer;
    if !expected.statuses.contains(status) {
        return Err(format!("status {status} instead of {:?}", expected.statuses));
    }
    let interim: Vec<u16> =
        interim.iter().map(|message| message.first.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    if expected.interim.as_ref().is_some_and(|wanted| *wanted != interim) {
        return Err(format!("interim {interim:?} instead of {:?}", expected.interim));
    }
    // RFC 9110, section 6.6.1.
    if *status != 101 && message.all("date").len() != 1 {
        return Err(format!("not one Date: {:?}", message.fields));
    }
    for (name, values) in &expected.fields {
        let values: Vec<String> = values.iter().map(|value| lane.own_text(value)).collect();
        if message.all(name) != values {
            return Err(format!("{name}: {:?} instead of {values:?}", message.all(name)));
        }
    }
    content_is(&expected.content, message)?;
    match &expected.trailers {
        Some(trailers) if *trailers != message.trailers => {
            return Err(format!("trailers {:?} instead of {trailers:?}", message.trailers));
        }
        _ => {}
    }
    code_is(expected.code, message)
}

fn content_is(expected: &Content, message: &Message) -> Result<(), String> {
    let told = quote(&message.content);
    match expected {
        Content::Any if !message.whole => Err(format!("the answer is cut short: {told}")),
        Content::Exactly(bytes) if !message.whole || *bytes != message.content => {
            Err(format!("content {told}, whole: {}, instead of {}", message.whole, quote(bytes)))
        }
        // Where nothing had been passed on, the fault is told as a whole.
        Content::Cut(_) if message.whole && message.first.contains(" 502 ") => Ok(()),
        Content::Cut(_) if message.whole => Err(format!("the answer looks whole: {told}")),
        Content::Cut(bytes) if !bytes.starts_with(&message.content) => {
            Err(format!("content {told} instead of a part of {}", quote(bytes)))
        }
        _ => Ok(()),
    }
}

/// RFC 9457: the code of an error, for a client that accepts JSON.
fn code_is(code: Option<&str>, message: &Message) -> Result<(), String> {
    let Some(code) = code else { return Ok(()) };
    let problem: serde_json::Value = serde_json::from_slice(&message.content).unwrap_or_default();
    let is_problem = message.all("content-type") == ["application/problem+json"];
    if is_problem && problem["code"] == code {
        return Ok(());
    }
    Err(format!("not the problem {code:?}: {:?} {}", message.fields, quote(&message.content)))
}

/// The next request arrived once; or once more, when it was first sent behind another one on a connection that the
/// endpoint had said it would keep, and closed just then: a GET goes again on a new one (RFC 9110, section 9.2.2).
fn probed(probes: &[(usize, oracle::Message)]) -> Result<(), String> {
    match probes {
        [_] => Ok(()),
        [(first, _), (second, _)] if (*first == 0) != (*second == 0) => Ok(()),
        _ => Err(format!("the next request arrived {} times", probes.len())),
    }
}

/// What the endpoint received, against what it should have.
fn arrived(outcome: &Outcome) -> Result<(), String> {
    let lane = &outcome.lane;
    let (mut came, mut probes) = (vec![], vec![]);
    for connection in lane.connections.lock().unwrap().iter() {
        let requests = oracle::requests(&connection.lock().unwrap(), lane.row.tunnels)?;
        for (place, message) in requests.into_iter().enumerate() {
            match outcome.probed && message.first == "GET /probe HTTP/1.1" {
                true => probes.push((place, message)),
                false => came.push(message),
            }
        }
    }
    for wanted in &lane.row.arrives {
        let line = lane.own_text(&wanted.line);
        match came.iter().position(|message| message.first == line) {
            Some(place) => is_wanted(wanted, &came.remove(place), lane)?,
            None if wanted.broken => {}
            None => return Err(format!("{line:?} did not arrive")),
        }
    }
    if outcome.probed {
        probed(&probes)?;
        for (_, probe) in &probes {
            is_wanted(&want("GET /probe HTTP/1.1").exactly(&[]), probe, lane)?;
        }
    }
    match came.first() {
        Some(message) => Err(format!("nobody meant {message:?}")),
        None => Ok(()),
    }
}

fn is_wanted(wanted: &Want, message: &Message, lane: &Lane) -> Result<(), String> {
    if wanted.broken && message.whole {
        return Err(format!("what is broken arrived as if it were whole: {message:?}"));
    }
    if !wanted.broken && !wanted.maybe_cut && !message.whole {
        return Err(format!("it arrived cut short: {message:?}"));
    }
    nothing_is_made_up(message, lane)?;
    if let Some(exactly) = &wanted.exactly {
        let mut theirs: Vec<_> =
            message.fields.iter().filter(|field| !OWN.contains(&field.0.as_str())).cloned().collect();
        let mut ours = exactly.clone();
        // Order counts among the lines of one name (RFC 9110, section 5.3); the sort is stable.
        theirs.sort_by(|one, other| one.0.cmp(&other.0));
        ours.sort_by(|one, other| one.0.cmp(&other.0));
        if ours != theirs {
            return Err(format!("fields {theirs:?} instead of {ours:?}"));
        }
    }
    for (name, values) in &wanted.fields {
        let values: Vec<String> = values.iter().map(|value| lane.own_text(value)).collect();
        let came: Vec<String> = message.all(name).into_iter().map(without_pseudonym).collect();
        if came != values {
            return Err(format!("{name}: {came:?} instead of {values:?} arrived"));
        }
    }
    match &wanted.content {
        Some(content) if wanted.maybe_cut && content.starts_with(&message.content) => {}
        Some(content) if lane.own(content) != message.content => {
            return Err(format!("content {} instead of {} arrived", quote(&message.content), quote(content)));
        }
        _ => {}
    }
    if message.whole && message.trailers != wanted.trailers {
        return Err(format!("trailers {:?} instead of {:?} arrived", message.trailers, wanted.trailers));
    }
    Ok(())
}

/// RFC 9110, section 7.6.3: which gateway it was is its own affair.
fn without_pseudonym(value: &str) -> String {
    match value.split_once(" hitless-") {
        Some((version, name)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            format!("{version} hitless")
        }
        _ => value.to_owned(),
    }
}

/// What is true of every request that an endpoint gets.
fn nothing_is_made_up(message: &Message, lane: &Lane) -> Result<(), String> {
    let said = lane.said().to_ascii_lowercase();
    for (name, _) in &message.fields {
        if !OWN.contains(&name.as_str()) && oracle::find(&said, name.as_bytes()).is_none() {
            return Err(format!("nobody said {name:?}: {message:?}"));
        }
        // RFC 9110, section 7.6.1; RFC 9113, section 3.1; CVE-2016-5385.
        if ["keep-alive", "proxy-connection", "http2-settings", "proxy"].contains(&name.as_str()) {
            return Err(format!("{name:?} belongs to one connection: {message:?}"));
        }
    }
    let known = |option: &&str| ["upgrade", "te", "close", "keep-alive"].contains(&option.trim());
    let options = message.all("connection").into_iter().flat_map(|value| value.split(','));
    if let Some(option) = options.into_iter().find(|option| !known(option)) {
        return Err(format!("the connection option {option:?} arrived"));
    }
    if message.lists("upgrade", "h2c") {
        return Err(format!("an upgrade to h2c arrived: {message:?}"));
    }
    let host = message.all("host")[0].to_ascii_lowercase();
    if host.starts_with(&lane.host()) { Ok(()) } else { Err(format!("the host {host:?} arrived")) }
}

fn report(outcomes: Vec<Outcome>, log: &str) {
    let runs = outcomes.len();
    let mut failed = BTreeSet::new();
    let mut reports = String::new();
    for mut outcome in outcomes {
        outcome.faults.extend(arrived(&outcome).err());
        let row = &outcome.lane.row;
        outcome.faults.extend(
            row.logs.filter(|text| !log.contains(text)).map(|text| format!("no {text:?} in the log")),
        );
        if !outcome.faults.is_empty() {
            failed.insert(row.name.clone());
            reports += &told(&outcome);
        }
    }
    println!("{runs} runs");
    let names: Vec<_> = failed.iter().map(|name| format!("FAILED {name}\n")).collect();
    assert!(failed.is_empty(), "{reports}\n{}{} rows fail", names.concat(), failed.len());
}

fn told(outcome: &Outcome) -> String {
    let Outcome { lane, heard, faults, .. } = outcome;
    let row = &lane.row;
    let pieces = match (lane.by_bytes, lane.secure) {
        (true, true) => ", byte by byte, over TLS",
        (true, false) => ", byte by byte",
        (false, true) => ", over TLS",
        (false, false) => "",
    };
    let came = lane
        .connections
        .lock()
        .unwrap()
        .iter()
        .map(|heard| quote(&heard.lock().unwrap()))
        .collect::<Vec<_>>();
    format!(
        "\n● {}{pieces}\n  see      {}\n  said     {}\n  heard    {}\n  arrived  {}\n  demanded {:?}, {} arriving\n  but      {}\n",
        row.name,
        row.citation,
        quote(&lane.said()),
        quote(&heard.lock().unwrap()),
        came.join("\n           "),
        row.gets.iter().map(|expected| &expected.statuses).collect::<Vec<_>>(),
        row.arrives.len(),
        faults.join("\n           "),
    )
}
