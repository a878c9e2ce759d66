//! Certificates that change while everybody comes in: the new one at once, a bad one never.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hitless::telemetry::event;
use rustls::pki_types::CertificateDer;

use crate::client::{TLS12, TLS13};
use crate::daemon::eventually;
use crate::dialogue::Secured;
use crate::pki::{Authority, Pair};
use crate::site::{Gateway, Site};

/// Which certificate the next handshake gets.
fn shown(gateway: &Gateway) -> CertificateDer<'static> {
    let client = crate::client::Client::trusting_anybody();
    client.to(&gateway.address, "blog.test").certificate()
}

fn is(pair: &Pair) -> CertificateDer<'static> {
    pair.certificates().remove(0)
}

/// Waits for a line of the log with all of these words behind its first `after` bytes, and returns it.
fn told(gateway: &Gateway, after: usize, words: &[&str]) -> String {
    eventually(|| {
        let log = gateway.log();
        let mut lines = log[after..].lines();
        lines.find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
}

/// New connections all the time, in both versions; none of them may fail.
#[test]
fn a_new_certificate_is_taken_up_under_load_and_no_handshake_fails() {
    let site = Site::new();
    let first = site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    let (count, leave) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let load: Vec<_> = [TLS12, TLS13, TLS13]
        .map(|versions| {
            let client = gateway.client().speaking(versions);
            let (address, count, leave) = (gateway.address.clone(), Arc::clone(&count), Arc::clone(&leave));
            std::thread::spawn(move || {
                let mut kept = client.to(&address, "blog.test");
                while !leave.load(SeqCst) {
                    assert_eq!(client.to(&address, "blog.test").get("blog.test", "/").text(), "blog");
                    // One that was there before goes on.
                    assert_eq!(kept.get("blog.test", "/").text(), "blog");
                    count.fetch_add(1, SeqCst);
                }
            })
        })
        .into();
    assert_eq!(shown(&gateway), is(&first));
    for _ in 0..20 {
        let next = gateway.root.leaf(&["blog.test"]).pair();
        let (before, after) = (count.load(SeqCst), gateway.log().len());
        next.write(gateway.folder.path(), "blog");
        told(&gateway, after, &["blog.pem", event::CERTIFICATE_TAKEN]);
        assert_eq!(shown(&gateway), is(&next), "what was said is so");
        eventually(|| (count.load(SeqCst) > before).then_some(()));
    }
    leave.store(true, SeqCst);
    load.into_iter().for_each(|thread| thread.join().unwrap());
}

/// What is wrong with the files of a pair, and what must be said of it.
type Spoil = fn(&Authority, &Path);

const BAD: [(&str, &str, Spoil); 11] = [
    ("the key of another", "the key is of another certificate than the one in", |root, folder| {
        fs::write(folder.join("blog.key"), &root.leaf(&["blog.test"]).pair().key).unwrap();
    }),
    ("expired", "the certificate has expired, on 2021-01-01T00:00:00Z; renew it", |root, folder| {
        root.leaf(&["blog.test"]).expired().pair().write(folder, "blog");
    }),
    ("not yet valid", "the certificate is not valid before 2110-01-01T00:00:00Z", |root, folder| {
        root.leaf(&["blog.test"]).not_yet_valid().pair().write(folder, "blog");
    }),
    ("half of a chain", "the file ends in the middle", |root, folder| {
        let chain = root.leaf(&["blog.test"]).pair().chain;
        fs::write(folder.join("blog.pem"), &chain[..chain.len() / 2]).unwrap();
    }),
    ("half of a key", "the file ends in the middle", |root, folder| {
        let key = root.leaf(&["blog.test"]).pair().key;
        fs::write(folder.join("blog.key"), &key[..key.len() / 2]).unwrap();
    }),
    ("nothing", "blog.pem: ", |_, folder| fs::write(folder.join("blog.pem"), "").unwrap()),
    ("damaged", "the file is damaged: what is in it is no base64", |_, folder| {
        let text = "-----BEGIN CERTIFICATE-----\n\u{7f}!!\n-----END CERTIFICATE-----\n";
        fs::write(folder.join("blog.pem"), text).unwrap();
    }),
    ("swapped", "look whether 'chain' and 'key' are swapped", |root, folder| {
        fs::write(folder.join("blog.key"), root.leaf(&["blog.test"]).pair().chain).unwrap();
    }),
    ("out of order", "certificate 1 in it is not signed by certificate 2", |root, folder| {
        let pair = root.intermediate("between").leaf(&["blog.test"]).pair();
        let own = root.leaf(&["blog.test"]).pair();
        fs::write(folder.join("blog.pem"), own.chain.clone() + &pair.chain).unwrap();
        fs::write(folder.join("blog.key"), own.key).unwrap();
    }),
    ("a key for everybody", "every user of this system can read the key (mode 0644)", |_, folder| {
        fs::set_permissions(folder.join("blog.key"), fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("no file", "cannot read the file: no such file", |_, folder| {
        fs::remove_file(folder.join("blog.pem")).unwrap();
    }),
];

#[test]
fn what_cannot_be_used_is_said_with_its_remedy_and_the_old_one_is_kept() {
    let site = Site::new();
    let mut served = site.serves("blog", &["blog.test"], "");
    let gateway = site.start();
    let folder = gateway.folder.path().to_owned();
    for (what, words, spoil) in BAD {
        let after = gateway.log().len();
        spoil(&gateway.root, &folder);
        let line = told(&gateway, after, &[words]);
        assert!(line.contains("warning"), "{what}: {line}");
        assert_eq!(shown(&gateway), is(&served), "{what}");
        assert_eq!(gateway.says(&gateway.client(), "blog.test"), "blog");
        // It is whole again, and another one.
        served = gateway.root.leaf(&["blog.test"]).pair();
        let after = gateway.log().len();
        served.write(&folder, "blog");
        told(&gateway, after, &["blog.pem", event::CERTIFICATE_TAKEN]);
        assert_eq!(shown(&gateway), is(&served), "after {what}");
    }
}

#[test]
fn a_pair_that_cannot_be_used_ends_the_start_with_its_message() {
    for (what, words, spoil) in BAD {
        // What has only the time against it is better than nothing.
        if ["expired", "not yet valid"].contains(&what) {
            continue;
        }
        let site = Site::new();
        site.serves("blog", &["blog.test"], "");
        spoil(&site.root, site.folder.path());
        let mut daemon = site.folder.start();
        assert_ne!(daemon.ends().code(), Some(0), "{what}: {}", daemon.log());
        assert!(daemon.log().contains(words), "{what}: {}", daemon.log());
    }
}

#[test]
fn the_expiry_of_each_pair_is_in_the_status() {
    let site = Site::new();
    let pair = site.root.leaf(&["blog.test"]).valid((2020, 1, 1), (2119, 5, 6)).pair();
    let certificates = format!("certificates = [{}]", site.pair("blog", &pair));
    site.answers("blog", &["blog.test"], &certificates);
    let gateway = site.start();
    let status = gateway.status().to_string();
    assert!(status.contains("2119-05-06"), "{status}");
}
