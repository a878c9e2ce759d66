//! A gateway whose door is TLS: its folder, the authority that its clients trust, and its certificates.
//!
//! Promises: the files of a pair are in the folder of the configuration, under names of the test's own.

use std::ops::{Deref, DerefMut};

use crate::client::Client;
use crate::daemon::{Daemon, Folder};
use crate::pki::{Authority, Pair};

/// Before the start.
pub struct Site {
    pub folder: Folder,
    pub root: Authority,
}

/// Afterwards.
pub struct Gateway {
    pub daemon: Daemon,
    pub root: Authority,
    pub address: String,
}

impl Site {
    pub fn new() -> Site {
        Site::with("")
    }

    /// With these settings behind the listener, whose own come first.
    pub fn with(settings: &str) -> Site {
        let listener = "[listener.https]\nlisten = [\"127.0.0.1:0\"]\ntls = true\n";
        Site { folder: Folder::new(&format!("{listener}{settings}\n")), root: Authority::new("test root") }
    }

    /// Writes a pair, and says it as the configuration does.
    pub fn pair(&self, name: &str, pair: &Pair) -> String {
        pair.write(self.folder.path(), name);
        named(name)
    }

    /// A service of these hosts that answers with its name, and a pair for them of that name; what the pair is.
    pub fn serves(&self, name: &str, hosts: &[&str], lines: &str) -> Pair {
        let pair = self.root.leaf(hosts).pair();
        let certificates = format!("certificates = [{}]", self.pair(name, &pair));
        self.answers(name, hosts, &format!("{certificates}\n{lines}"));
        pair
    }

    /// The same, with what the lines say of certificates.
    pub fn answers(&self, name: &str, hosts: &[&str], lines: &str) {
        let route = format!("[[service.{name}.route]]\npath = \"/*\"\nanswer = {{ body = \"{name}\" }}");
        self.folder.service(name, &format!("hosts = {hosts:?}\n{lines}\n{route}"));
    }

    pub fn start(self) -> Gateway {
        let daemon = self.folder.start().ready();
        let address = daemon.address_of("https");
        Gateway { daemon, root: self.root, address }
    }
}

/// As the configuration says a pair in its own folder.
pub fn named(name: &str) -> String {
    format!("{{ chain = \"{name}.pem\", key = \"{name}.key\" }}")
}

impl Gateway {
    /// A client that trusts its authority.
    pub fn client(&self) -> Client {
        Client::trusting(&self.root)
    }

    /// What a service says.
    #[track_caller]
    pub fn says(&self, client: &Client, host: &str) -> String {
        client.to(&self.address, host).get(host, "/").text()
    }
}

impl Deref for Gateway {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
