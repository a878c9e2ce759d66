//! The keeper, played: the listening sockets, gateways as its children, and what is said to them.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;

use hitless::handover::control::{
    self, Destination, FD_VARIABLE, Moved, Purpose, SocketRecord, Start, ToGateway, ToKeeper,
};
use hitless::handover::mailbox::{self, Mailbox};
use hitless::handover::snapshot;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::byhand::Wire;
use crate::daemon::{BINARY, Folder, PATIENCE, Process, admin};

/// What is the same for all gateways of a keeper.
pub struct House {
    pub folder: Folder,
    pub address: String,
    /// Whether the listening socket outlives this keeper, as one of systemd's does.
    pub passed: bool,
    public: TcpListener,
    private: UnixListener,
    runtime: Rc<Runtime>,
}

/// One `hitless gateway`, killed when dropped.
pub struct Gateway {
    child: Child,
    pub process: Process,
    control: Option<Mailbox>,
    log: std::path::PathBuf,
    runtime: Rc<Runtime>,
}

impl House {
    /// In front of this endpoint.
    pub fn of(endpoint: &str, settings: &str) -> House {
        let folder = Folder::listening_with(settings);
        folder.passing("shop", endpoint);
        let public = TcpListener::bind("127.0.0.1:0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        House {
            address: public.local_addr().unwrap().to_string(),
            passed: false,
            private: UnixListener::bind(folder.admin()).unwrap(),
            runtime: Rc::new(runtime),
            public,
            folder,
        }
    }

    /// A gateway that is ready.
    pub fn gateway(&self) -> Gateway {
        let mut gateway = self.spawn();
        let sources = hitless::config::read(self.folder.path()).unwrap();
        let snapshot = snapshot::seal(&serde_json::to_vec(&sources).unwrap()).unwrap();
        let socket =
            |purpose, address: &str| SocketRecord { purpose, address: address.into(), passed: self.passed };
        let start = Start {
            certificates: false,
            directory: self.folder.path().to_owned(),
            generation: 1,
            sockets: vec![
                socket(Purpose::Listener("http".into()), &self.address),
                socket(Purpose::Admin, "admin"),
            ],
            watchdog: None,
            replacements: 0,
            gateway: 1,
            lost: 0,
            pseudonym: "0123456789ab".into(),
            program: Default::default(),
        };
        gateway.say(ToGateway::Start(start), &[snapshot.as_fd(), self.public.as_fd(), self.private.as_fd()]);
        gateway.hears(|message| matches!(message, ToKeeper::Ready(_)).then_some(()));
        gateway
    }

    fn spawn(&self) -> Gateway {
        let (ours, theirs) = mailbox::pair().unwrap();
        let control = self.runtime.block_on(async { Mailbox::new(ours).unwrap() });
        let (log, path) = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap().keep().unwrap();
        let mut command = Command::new(BINARY);
        command.arg("gateway").env(FD_VARIABLE, "0").env_remove("JOURNAL_STREAM");
        let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let process = Process::open(child.id() as i32);
        Gateway { child, process, control: Some(control), log: path, runtime: Rc::clone(&self.runtime) }
    }

    pub fn connect(&self) -> Wire {
        Wire::to(&self.address)
    }

    /// A connection with one request behind it.
    pub fn connect_and_ask(&self) -> Wire {
        let mut client = self.connect();
        assert_eq!(client.get("shop.test", "/now").status(), 200);
        client
    }

    /// Of the gateway that answers at the admin socket.
    pub fn status(&self) -> serde_json::Value {
        let answer = admin(&self.folder, "GET /status");
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    pub fn who_answers(&self) -> i64 {
        self.status()["pid"].as_i64().unwrap()
    }

    /// One end of a mailbox as the other side of a handover uses it.
    pub fn other_side<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("nothing happens") })
    }

    pub fn mailbox(&self, end: OwnedFd) -> Mailbox {
        self.runtime.block_on(async { Mailbox::new(end).unwrap() })
    }
}

impl Gateway {
    pub fn say(&mut self, message: ToGateway, fds: &[BorrowedFd<'_>]) {
        let sent = self.runtime.block_on(control::send(self.control.as_ref().unwrap(), message, fds));
        sent.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    /// Waits until it says something that this finds something in.
    pub fn hears<T>(&mut self, find: impl Fn(ToKeeper) -> Option<T>) -> T {
        loop {
            let receiving = control::receive::<ToKeeper>(self.control.as_ref().unwrap());
            let received = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, receiving).await });
            match received {
                Ok(Ok(Some((message, _)))) => {
                    if let Some(found) = find(message) {
                        return found;
                    }
                }
                other => panic!("it does not say what it should: {other:?}\n{}", self.log()),
            }
        }
    }

    pub fn hand_over(&mut self, to: Destination, mailbox: &OwnedFd) {
        self.hand_over_within(to, mailbox, None);
    }

    pub fn hand_over_within(
        &mut self,
        to: Destination,
        mailbox: &OwnedFd,
        limit: Option<std::time::Duration>,
    ) {
        self.say(ToGateway::HandOver { to, limit }, &[mailbox.as_fd()]);
    }

    /// As at a restart: the keeper ends as soon as the gateway goes on alone. What is from now on in the other end of the
    /// mailbox is for the next one. `adopted`: of which mailboxes it shall read no more.
    pub fn leaves_into_the_store(&mut self, adopted: &[u32]) -> OwnedFd {
        let (one, kept) = mailbox::pair().unwrap();
        self.hand_over(Destination::Store, &one);
        drop(one);
        self.say(ToGateway::Leave { stored: adopted.to_vec() }, &[]);
        self.hears(|message| matches!(message, ToKeeper::Left).then_some(()));
        self.control = None;
        kept
    }

    /// As when it is killed.
    pub fn keeper_dies(&mut self) {
        self.control = None;
    }

    /// The name that systemd asks for.
    pub fn name(&self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.process.pid)).unwrap().trim().to_owned()
    }

    /// Listening sockets that it has open yet.
    pub fn listens(&self) -> usize {
        let table = |name: &str| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap();
        let tcp = table("tcp") + &table("tcp6");
        let listening = tcp.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let inodes: Vec<String> =
            listening.filter(|row| row.get(3) == Some(&"0A")).map(|row| row[9].to_owned()).collect();
        let unix = table("unix");
        let unix = unix.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let named = unix.filter(|row| row.get(3) == Some(&"00010000")).map(|row| row[6].to_owned());
        let inodes: Vec<String> =
            inodes.into_iter().chain(named).map(|inode| format!("socket:[{inode}]")).collect();
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.pid)).unwrap();
        let links = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        links.filter(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str())).count()
    }

    pub fn ends_well(&mut self) {
        assert_eq!(self.ends().code(), Some(0), "{}", self.log());
    }

    /// Begins a handover to another gateway.
    pub fn hand_over_to(&mut self, incoming: &mut Gateway) {
        let (one, other) = mailbox::pair().unwrap();
        incoming.say(ToGateway::Adopt, &[other.as_fd()]);
        self.hand_over(Destination::Gateway, &one);
    }

    /// To the end.
    pub fn has_handed_over(&mut self) -> Moved {
        let moved = self.hears(|message| match message {
            ToKeeper::HandedOver(moved) => Some(moved),
            _ => None,
        });
        assert_eq!(self.ends().code(), Some(0), "{}", self.log());
        moved
    }

    pub fn has_adopted(&mut self) -> Moved {
        self.hears(|message| match message {
            ToKeeper::Adopted(moved) => Some(moved),
            _ => None,
        })
    }

    /// Because whoever was to adopt is gone.
    pub fn takes_back(&mut self) {
        self.say(ToGateway::TakeBack, &[]);
        self.hears(|message| matches!(message, ToKeeper::TookBack).then_some(()));
    }

    /// Waits until it says, in its words, how it goes.
    pub fn progress(&mut self, words: &str) {
        self.hears(|message| match message {
            ToKeeper::Progress(progress) => progress.line().contains(words).then_some(()),
            _ => None,
        });
    }

    pub fn ends(&mut self) -> ExitStatus {
        self.process.ends();
        self.child.wait().unwrap()
    }

    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.ends();
    }

    pub fn pid(&self) -> i64 {
        i64::from(self.process.pid)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("gateway {}:\n{}", self.child.id(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
